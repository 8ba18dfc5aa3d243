"""Tests of our own drivers against servers of the test: their counts are correct."""

import os
import socket
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import frames, uploads


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Uploads(unittest.TestCase):
    def drive(self, status):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
        server.status, server.bodies = status, []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        content = os.urandom(300_000)
        try:
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                said = uploads.drive(server.server_port, 1, 3, "/", file.name)
        finally:
            server.shutdown()
            server.server_close()
        self.assertTrue(all(body == content for body in server.bodies))
        self.assertEqual(said["requests"], len(server.bodies))
        return said

    def test_every_upload_that_was_begun_is_finished_and_counts(self):
        said = self.drive(200)
        self.assertGreaterEqual(said["requests"], 3)
        self.assertEqual((said["status"], said["read"], said["timeout"]), (0, 0, 0))

    def test_a_refusal_is_an_error(self):
        said = self.drive(503)
        self.assertEqual(said["status"], said["requests"])

    def test_an_answer_is_whole_with_its_last_byte(self):
        answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
        self.assertEqual([uploads.whole(answer[:-1]), uploads.whole(answer)], [None, 200])


class Frames(unittest.TestCase):
    def test_a_message_survives_its_frame_at_every_split(self):
        for size in (0, 1, 125, 126, 4000):
            payload = bytes(i % 256 for i in range(size))
            for mask in (True, False):
                whole = frames.frame(payload, mask)
                self.assertEqual(frames.split(whole + b"more"), (payload, b"more"))
                self.assertEqual(frames.split(whole[:-1])[0], None)

    def test_the_handshake_is_that_of_the_rfc(self):
        self.assertEqual(frames.accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_messages_come_back_from_the_echo(self):
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=frames.serve, args=(listener,), daemon=True).start()
        said = frames.drive(listener.getsockname()[1], 1, 4, 200)
        self.assertGreaterEqual(said["requests"], 4)
        self.assertEqual((said["read"], said["bytes"]), (0, 400 * said["requests"]))


if __name__ == "__main__":
    unittest.main()
