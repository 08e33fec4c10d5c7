# Runs Envoy, and lets it end what it answers before it ends itself: told to end, Envoy exits at once.
# Needs bash and no other program: it speaks to Envoy's admin page itself. Usage: proxy.sh SECONDS ENVOY [ARGUMENT...]
most=$1
shift
"$@" &
envoy=$!
ending=
trap 'ending=yes' INT TERM

connect() {
  exec 3<>"/dev/tcp/127.0.0.1/${NOMAD_PORT_admin}"
}

ask() {
  connect && printf '%s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$1" >&3
}

tell() {
  ask "$1" && IFS= read -r -t 5 line <&3 && [[ $line == *" 200 "* ]]
}

# Counts connections, those of HTTP, and requests; not those of whoever looks at Envoy itself.
count() {
  all=0 http=0 requests=0
  ask 'GET /stats?filter=downstream_(cx|rq)_active%24' || return
  while IFS= read -r -t 5 line <&3; do
    line=${line%$'\r'}
    case "$line" in
      *.worker_* | *[._]admin.* | http.telemetry.* | *"_${NOMAD_PORT_telemetry}."*) ;;
      listener.*.downstream_cx_active:*) ((all += ${line##*: })) ;;
      http.*.downstream_cx_active:*) ((http += ${line##*: })) ;;
      http.*.downstream_rq_active:*) ((requests += ${line##*: })) ;;
    esac
  done
}

# A second; less when Envoy ends. A connection on which nothing is asked says nothing.
pause() {
  connect || return
  read -r -t 1 line <&3
  kill -0 "$envoy"
}

drain() {
  # From now on /ready says no, and each answer that its connection ends with it.
  tell 'POST /healthcheck/fail' || return
  # Nobody new; who is here may stay.
  tell 'POST /drain_listeners' || return
  for ((second = 0; second < most; second++)); do
    count || return
    # HTTP on which nobody asked anything for five seconds can be closed; of other protocols nobody knows.
    ((requests || all > http || (all && second < 5))) || return
    pause || return
  done
}

[ "$ending" ] || wait "$envoy"
status=$?
# A signal ends a wait before Envoy has ended.
while kill -0 "$envoy" 2>/dev/null; do
  if [ "$ending" ]; then
    drain 2>/dev/null
    kill "$envoy" 2>/dev/null
  fi
  wait "$envoy"
  status=$?
done
exit "$status"
