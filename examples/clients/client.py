#!/usr/bin/env python3
"""The six tasks of docs/clients.md in Python.

Needs websocket-client (Debian: python3-websocket).
"""
import base64
import json
import os
import random
import struct
import threading
import time
import urllib.request
import uuid
from datetime import datetime, timezone

import websocket

URL, TOKENS, PATIENT = (os.environ[name] for name in ("CAREWIRE_URL", "TOKEN_URL", "PATIENT"))
COME_BACK = (1001, 1005, 1006, 1011, 1012, 1013, 3000, 3008)
lock = threading.RLock()
asked = {}  # by req: requests without a final reply, and the function that gets it
logs = {}  # by patient: state, position and count
line = None  # the connection, after its welcome
last = None  # chunk of the wave: its number, and when it ended


def fresh_token():
    return urllib.request.urlopen(TOKENS, timeout=30).read().decode()


def ask(frame, done, until=float("inf")):
    """Sends a request, again and again until it has a final reply or it is too late: a request that must not happen twice has an ID."""
    with lock:
        req = frame["req"] = str(uuid.uuid4())
        asked[req] = frame, done, until
        send(req)


def send(req):
    with lock:
        if req not in asked or not line:
            return  # it is sent on the next connection
        frame, done, until = asked[req]
        if time.monotonic() > until:
            asked.pop(req)
            return done({"type": "error", "code": "expired"})
        try:
            line.send(json.dumps(frame))
        except (OSError, websocket.WebSocketException):
            pass  # likewise


def reply(f):
    if f.get("retry") == "later":
        threading.Timer(max(1, f.get("retry_ms", 0) / 1000), send, [f["req"]]).start()
    elif f.get("req") in asked:
        asked.pop(f["req"])[1](f)


def watch(patients):
    since = {p: logs[p]["at"] for p in patients if "at" in logs.get(p, {})}
    for p in patients:
        logs.setdefault(p, {})["state"] = "waiting"  # events before sync belong to an older watch
    ask({"type": "watch", "patients": patients, "since": since, "waves": ["131330"]}, lambda f: None)


def follow(f):
    """Keeps a patient's position and count: section 5 of the protocol."""
    log = logs.setdefault(f["patient"], {})
    at = {k: f[k] for k in ("epoch", "seq") if k in f}
    if f["type"] == "sync":
        log["state"] = "catching" if f["recovered"] else "snapshot"
        if not f["recovered"]:
            log.pop("at", None)  # and the held state: all of it comes again
        return
    if log.get("state") in (None, "waiting"):
        return
    if f["type"] == "synced":
        if log["state"] == "catching" and f["must"] != log["must"]:
            return watch([f["patient"]])
        log.update(state="live", at=at, must=f["must"])
        return
    if log["state"] != "snapshot":
        if f.get("epoch") == log["at"].get("epoch") and f["seq"] <= log["at"]["seq"]:
            return  # it came before
        more = f["must"] - log["must"]
        if f["seq"] <= log["at"]["seq"] or more not in {"vital": (0,), "gap": (0, 1)}.get(f["type"], (1,)):
            return watch([f["patient"]])  # something is missing
        log.update(at=at, must=f["must"])
    if f["type"] == "vital" and "value" in f["vital"]:
        print("vital", f["vital"]["code"], f["vital"]["value"], flush=True)
    elif f["type"] == "alert":
        accept(f["alert"])


def check(head):
    log = logs.get(head["patient"], {})
    if log.get("state") == "live" and head["seq"] >= log["at"]["seq"] and head["must"] != log["must"]:
        watch([head["patient"]])


def samples(data):
    """Reads first differences, zigzag, as varints, in base64: section 9 of the protocol."""
    read, sample, z, shift = [], 0, 0, 0
    for byte in base64.b64decode(data):
        z, shift = z | (byte & 127) << shift, shift + 7
        if byte < 128:
            sample += -(z + 1 >> 1) if z & 1 else z >> 1
            read.append(sample)
            z = shift = 0
    return read


def show(wave):
    global last
    n, begin = wave["n"], datetime.fromisoformat(wave["time"].replace("Z", "+00:00")).timestamp()
    if last and (n != last[0] + 1 or abs(begin - last[1]) >= 0.1):
        print("gap", flush=True)
    read = samples(wave["data"])
    print("wave", wave["code"], n, len(read), flush=True)
    last = n, begin + len(read) / wave["rate"]


def publish():
    vital = {"patient": PATIENT, "code": "8310-5", "value": 37.0, "unit": "Cel", "vital_id": str(uuid.uuid4()),
             "time": datetime.now(timezone.utc).isoformat()}
    ask({"type": "publish", "vitals": [vital]},
        lambda f: print("published", "done" if f["type"] == "ok" and "error" not in f["results"][0] else f, flush=True))


def accept(alert):
    if "ended" in alert or alert["responsibility"]["state"] != "undefined":
        return
    ask({"type": "answer", "patient": alert["patient"], "key": alert["key"], "alert_id": alert["alert_id"], "rev": alert["rev"],
         "event_id": str(uuid.uuid4()), "do": "accept", "reason": "on my way"},
        lambda f: print("accept", "done" if f["type"] == "ok" else f["code"], flush=True), time.monotonic() + 15)


def notify():
    notice = {"patient": PATIENT, "notice_id": str(uuid.uuid4()), "to": ["group:ward-5"], "text": "Blood is taken."}
    ask({"type": "notify", "notice": notice}, lambda f: print("notice", "done" if f["type"] == "ok" else f["code"], flush=True))


def renew(expires, now):
    """Gives a fresh token on the line when four fifths of the old one's time have passed."""
    left = (datetime.fromisoformat(expires.replace("Z", "+00:00")) - now).total_seconds()
    timer = threading.Timer(max(1, left * 4 / 5), lambda: ask({"type": "token", "token": fresh_token()},
                            lambda f: "expires" in f and renew(f["expires"], datetime.now(timezone.utc))))
    timer.daemon = True
    timer.start()


def take(f):
    global line
    kind = f["type"]
    if kind == "welcome":
        line = ws
        for req in [req for req, a in asked.items() if a[0]["type"] in ("watch", "token")]:
            del asked[req]  # of the old line
        waiting = list(asked)
        watch([PATIENT])
        for req in waiting:
            send(req)
        if "expires" in f:
            renew(f["expires"], datetime.fromisoformat(f["time"].replace("Z", "+00:00")))
    elif kind in ("ok", "error"):
        reply(f)
    elif kind in ("sync", "synced", "vital", "alert", "notice", "receipt", "access", "gap"):
        follow(f)
    elif kind == "wave":
        show(f["wave"])
    elif kind == "head":
        for head in f["heads"]:
            check(head)


publish()
notify()
failed = 0
while True:  # comes back after random pauses that grow
    began, code = time.monotonic(), 1006
    try:
        ws = websocket.create_connection(URL, header=["Authorization: Bearer " + fresh_token()], subprotocols=["carewire.v1"], timeout=50)
        while code == 1006:
            opcode, data = ws.recv_data()  # an error after 50 s of silence: the line is dead
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
            elif opcode == websocket.ABNF.OPCODE_TEXT:
                with lock:
                    take(json.loads(data))
    except websocket.WebSocketBadStatusException as e:
        if e.status_code in (400, 403, 405, 421, 426, 431):
            raise SystemExit(f"refused: {e.status_code}")
    except (OSError, websocket.WebSocketException):
        pass
    line = None
    if code not in COME_BACK:
        raise SystemExit(f"closed: {code}")
    failed = 0 if time.monotonic() - began > 30 else max(failed + 1, 3 if code == 1013 else 0)
    time.sleep(random.uniform(0, min(30, 0.5 * 2**failed)))
