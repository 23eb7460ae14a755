#!/usr/bin/env bash
# The configuration of the server's image, made of redis.conf.example: without its users, so that the server's protected
# mode lets in nobody but who is in the container, until a configuration with users takes its place.
# Usage: container.sh EXAMPLE >CONF
set -euo pipefail

sed -e '/^user /d' -e 's/^bind .*/bind */' -e 's,^dir .*,dir /data,' "$1"
