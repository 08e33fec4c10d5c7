# Runs a program and ends it after it lost a server. nomad-autoscaler 0.5.0 then stops all of its policies and takes up
# none of them again, while its health page says that all is well; Nomad starts it anew.
lines="${NOMAD_TASK_DIR}/lines"
rm -f "$lines"
mkfifo -m 600 "$lines" || exit 1
child=
trap 'kill "$child" 2>/dev/null || exit 143' INT TERM
"$@" >"$lines" 2>&1 &
child=$!
while IFS= read -r line; do
  printf '%s\n' "$line"
  case "$line" in
    *"monitoring policy IDs"*"connection refused"* | *"monitoring policy IDs"*EOF*) kill "$child" ;;
  esac
done <"$lines" &
wait "$child"
status=$?
# A signal ends the first wait before the program has ended.
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  status=$?
done
exit "$status"
