"""Record what an ffmpeg says of its encoders and filters, as JSON on standard output."""

from __future__ import annotations

import argparse
import json
import sys

from tests.encoders.builds import run
from tests.encoders.facts import ENCODERS, FILTERS, Facts, read_encoder, read_filter


def record(ffmpeg: str) -> Facts:
    version = run(ffmpeg, "-version").stdout.split()[2].split("-")[0]
    found: Facts = {"version": version, "encoders": {}, "filters": {}}
    for name in ENCODERS:
        encoder = read_encoder(run(ffmpeg, "-hide_banner", "-h", f"encoder={name}").stdout)
        if encoder is not None:
            found["encoders"][name] = encoder
    for name in FILTERS:
        options = read_filter(run(ffmpeg, "-hide_banner", "-h", f"filter={name}").stdout)
        if options is not None:
            found["filters"][name] = options
    return found


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("ffmpeg", help="path of the ffmpeg to record")
json.dump(record(parser.parse_args().ffmpeg), sys.stdout, separators=(",", ":"), sort_keys=True)
sys.stdout.write("\n")
