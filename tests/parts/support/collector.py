"""An OpenTelemetry collector's OTLP receiver over HTTP, with the messages of OpenTelemetry's own package: writes each
request that it takes as a line of JSON. The first requests get the statuses that it is given."""
import http.server
import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

out, refusals = open(sys.argv[2], "a"), [int(status) for status in sys.argv[3:]]


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest.FromString(body)
        good = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        status = refusals.pop(0) if refusals else 200 if good else 400
        if status == 200:
            out.write(json.dumps({"key": self.headers["x-api-key"], **MessageToDict(request)}) + "\n")
            out.flush()
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
