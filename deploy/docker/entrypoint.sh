#!/bin/sh
# quayside SERVICE ROLE…     the roles of a service in one process: `quayside orders consumer relay jobs`
# quayside -m MODULE …       any module: `quayside -m libs.common.messaging replay inventory.intake --dry-run`
# quayside issue-keys FOLDER the API keys that are missing there
set -eu
case "${1:-}" in
  "") echo "usage: quayside SERVICE ROLE... | -m MODULE ... | issue-keys FOLDER" >&2; exit 2 ;;
  -m) exec python "$@" ;;
  issue-keys) shift; exec issue-keys "$@" ;;
  *) service=$1; shift; exec python -m "services.$service" "$@" ;;
esac
