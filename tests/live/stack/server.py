"""A little HTTP server for the live tests: it tells callers who they are, and asks its own dependencies the same."""

# Answers /hello with the caller's identity, and /call with what each dependency says there.
SERVER = """
import http.server, json, os, urllib.request

def dependencies():
    found = {}
    for name, url in os.environ.items():
        if name.startswith("HMS_") and name.endswith("_URL"):
            with urllib.request.urlopen(url + "/hello", timeout=10) as answer:
                found[url] = json.load(answer)
    return found

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        caller = self.headers.get("X-Forwarded-Client-Cert", "").partition("URI=")[2].partition(";")[0]
        body = json.dumps(dependencies() if self.path == "/call" else caller).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
