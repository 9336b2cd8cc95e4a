#!/usr/bin/env bash
# Takes the cluster in FOLDER down when process OWNER is gone: a killed test leaves no daemons behind.
FOLDER=$1 OWNER=$2
while [ -d "$FOLDER" ]; do
  kill -0 "$OWNER" 2>/dev/null || exec "$(dirname "$0")/down.sh" "$FOLDER"
  sleep 1
done
