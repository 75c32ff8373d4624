#!/bin/bash
# Runs once, when the data folder is new: a role and a database for each service, which owns nothing else.
set -euo pipefail
for service in catalog inventory orders recommender logistics; do
  psql --quiet --set ON_ERROR_STOP=1 --set service="$service" --set password="$SERVICES_PASSWORD" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
SQL
  # What migrations may use but their roles may not install; each only where the server has it.
  psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$service" <<'SQL'
SELECT format('CREATE EXTENSION %I', name) FROM pg_available_extensions WHERE name IN ('pg_trgm', 'vector') \gexec
SQL
done
