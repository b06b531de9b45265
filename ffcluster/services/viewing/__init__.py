"""What people and programs see of a coordinator: values, pictures, events, metrics."""
