"""An OpenID Connect provider that asks for no password: who is named on its page is logged in. For tests alone."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlparse

CLIENT, SECRET = "trmfin", "not a secret"


class _Provider(BaseHTTPRequestHandler):
    """Discovery, a page to choose a person on, tokens, keys (OpenID Connect Core 1.0, authorization code flow)."""

    people: tuple[str, ...]
    key: Any  # an RSA key of joserfc

    def do_GET(self) -> None:
        path, issuer = urlparse(self.path), f"http://{self.headers['Host']}"
        asked = {name: values[0] for name, values in parse_qs(path.query).items()}
        if path.path == "/.well-known/openid-configuration":
            ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            kinds = {"response_types_supported": ["code"], "subject_types_supported": ["public"]}
            more = {"id_token_signing_alg_values_supported": ["RS256"]}
            self._answer(json.dumps({"issuer": issuer} | {name: f"{issuer}/{end}" for name, end in ends.items()} | kinds | more))
        elif path.path == "/keys":
            self._answer(json.dumps({"keys": [self.key.as_dict(private=False)]}))
        elif path.path == "/authorize":
            assert asked["client_id"] == CLIENT and "openid" in asked["scope"].split()
            links = []
            for person in self.people:
                code = base64.urlsafe_b64encode(json.dumps([person, asked.get("nonce")]).encode()).decode()
                back = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
                links.append(f'<a href="{back}">{person}</a>')
            self._answer("<br>".join(links), "text/html")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        from joserfc import jwt

        form = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        person, nonce = json.loads(base64.urlsafe_b64decode(form["code"]))
        now, issuer = int(time.time()), f"http://{self.headers['Host']}"
        claims = {"iss": issuer, "aud": CLIENT, "sub": person, "email": person, "iat": now, "exp": now + 600, "nonce": nonce}
        token = jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)
        self._answer(json.dumps({"access_token": "unused", "token_type": "Bearer", "expires_in": 600, "id_token": token}))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _answer(self, text: str, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def provider(*people: str) -> Iterator[str]:
    """The address of a provider that knows these people."""
    from joserfc.jwk import RSAKey

    key = RSAKey.generate_key(2048, auto_kid=True)
    server = ThreadingHTTPServer(("localhost", 0), type("Provider", (_Provider,), {"people": people, "key": key}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def secrets(issuer: str, port: int) -> str:
    """What `.streamlit/secrets.toml` says so that a dashboard on this port logs people in there."""
    return "\n".join(
        (
            "[auth]",
            f'redirect_uri = "http://localhost:{port}/oauth2callback"',
            f'cookie_secret = "{"0123456789abcdef" * 2}"',
            f'client_id = "{CLIENT}"',
            f'client_secret = "{SECRET}"',
            f'server_metadata_url = "{issuer}/.well-known/openid-configuration"',
        )
    )
