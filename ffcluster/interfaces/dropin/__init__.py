"""`ffcluster-ffmpeg`: ffmpeg's command line for a whole cluster, or for the ffmpeg that is here."""
