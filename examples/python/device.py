#!/usr/bin/env python3
"""A device that publishes a heart rate each second.

What has no reply yet is sent again when the connection is back, with the same
vital_id, so that nothing is lost and nothing is in the log twice.

Needs websocket-client (Debian: python3-websocket).
"""
import argparse
import json
import random
import signal
import threading
import time
import uuid
from datetime import datetime, timezone

import websocket

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--url", default="ws://127.0.0.1:8080/carewire")
parser.add_argument("--token", default="gateway-1")
parser.add_argument("--patient", default="p-13")
args = parser.parse_args()

lock = threading.Lock()
waiting = {}  # vital_id: a vital that has no final reply yet, oldest first
sent = set()  # vital_ids that were sent on this connection
requests = {}  # req: the vital_ids in it
ready = False  # the server has said welcome
most = 1  # vitals that it takes at once


def measure():
    rate = 72.0
    while True:
        rate += random.gauss(0, 1) + (72 - rate) / 20
        vital_id = str(uuid.uuid4())
        vital = {"patient": args.patient, "code": "8867-4", "value": round(rate), "unit": "/min", "every": 1,
                 "time": datetime.now(timezone.utc).isoformat(), "device": "python", "vital_id": vital_id}
        with lock:
            waiting[vital_id] = vital
            while len(waiting) > 600:  # ten minutes: a real device keeps more, on disk
                waiting.pop(next(iter(waiting)))
        publish()
        time.sleep(1)


def publish():
    with lock:
        ids = [i for i in waiting if i not in sent][:most]
        if not ready or not ids:
            return
        req = str(uuid.uuid4())
        requests[req] = ids
        sent.update(ids)
        frame = {"type": "publish", "req": req, "vitals": [waiting[i] for i in ids]}
    try:
        ws.send(json.dumps(frame))
    except (websocket.WebSocketException, OSError):
        pass  # on_close follows


def on_open(ws):
    print("connected")


def on_message(ws, message):
    global ready, most
    frame = json.loads(message)
    if frame["type"] == "welcome":
        with lock:
            ready, most = True, frame["limits"]["vitals"]
            sent.clear()
            requests.clear()
        publish()
    elif frame["type"] in ("ok", "error"):
        with lock:
            ids = requests.pop(frame.get("req"), [])
            results = frame.get("results") or [{"error": frame}] * len(ids)
            for vital_id, result in zip(ids, results):
                error = result.get("error")
                if error is None:
                    vital = waiting.pop(vital_id, None)
                    if vital:
                        print(vital["value"], "/min is number", result["seq"], "(again)" if result.get("repeated") else "")
                elif error["retry"] == "later":
                    sent.discard(vital_id)
                else:
                    waiting.pop(vital_id, None)
                    print("refused:", error["code"], error.get("field", ""))
        if frame["type"] == "ok":
            publish()  # what found no room


def on_error(ws, error):
    global again
    print("error:", error)
    if getattr(error, "status_code", 0) in (400, 401, 403, 421, 426):  # of a refused handshake
        again = False


def on_close(ws, code, reason):
    global ready, again
    with lock:
        ready = False
    print("closed:", code, reason or "")
    if code in (1002, 1003, 1007, 1008, 1009, 3003):
        again = False


websocket.setdefaulttimeout(30)  # for the handshake
threading.Thread(target=measure, daemon=True).start()
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it
again = True  # come back when the connection is lost
attempt = 0
while again:
    ws = websocket.WebSocketApp(args.url, header=["Authorization: Bearer " + args.token], subprotocols=["carewire.v1"],
                                on_open=on_open, on_message=on_message, on_error=on_error, on_close=on_close)
    began = time.monotonic()
    ws.run_forever(ping_interval=20, ping_timeout=7)  # a line can die without a word
    ready = False
    attempt = 0 if time.monotonic() - began > 30 else attempt + 1
    time.sleep(random.uniform(0, min(30, 0.5 * 2**attempt)))
