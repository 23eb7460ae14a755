#!/usr/bin/env bash
# Prints the configuration of the server's image: redis.conf.example without its users. So the server's protected mode
# admits only clients in the container, until a configuration with users replaces this one.
# Usage: container.sh EXAMPLE >CONF
set -euo pipefail

sed -e '/^user /d' -e 's/^bind .*/bind */' -e 's,^dir .*,dir /data,' "$1"
