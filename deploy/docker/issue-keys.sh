#!/bin/sh
# Makes the API keys that are missing in a folder: keys.json for the services, and each key in a file of its name.
set -eu
umask 077
folder=$1

issue() {
  # An empty file is what a start that was interrupted left behind.
  [ -s "$folder/$1" ] || python -m libs.common.http.keys issue --file "$folder/keys.json" \
    --environment "${QUAYSIDE_ENVIRONMENT:-local}" --name "$1" --scopes "$2" >"$folder/$1"
}

# Never made anew: without them nobody knows whom a pseudonym stands for.
python -m libs.common.data_keys create --file "$folder/data-keys.json"

issue ops '*'
issue storefront catalog:read,orders:write,orders:read,reservations:read,reservations:write,behaviour:write,recommendations:read,availability:read,shipments:read
issue warehouse stock:write,stock:read,reservations:read,availability:read,shipments:write,shipments:read,returns:write
