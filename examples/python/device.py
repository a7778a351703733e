#!/usr/bin/env python3
"""A device that publishes a heart rate each second, and the wave that belongs to it.

A vital without a reply is sent again when the connection is back, with the same
vital_id, so that nothing is lost and nothing is in the log twice. A wave is live
only: a chunk that cannot be sent now is dropped, and its number is left out.

Needs websocket-client (Debian: python3-websocket).
"""
import argparse
import base64
import json
import math
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
ahead = 0  # chunks of waves that may be sent beyond those that the server has looked at
chunks = seen = 0  # chunks sent on this connection, and looked at
pulse = 72  # the heart rate now

RATE = 124  # samples a second
CHUNK = 31  # samples: a quarter of a second


def measure():
    global pulse
    rate = 72.0
    while True:
        rate += random.gauss(0, 1) + (72 - rate) / 20
        pulse = rate
        vital_id = str(uuid.uuid4())
        vital = {"patient": args.patient, "code": "8867-4", "value": round(rate), "unit": "/min", "every": 1,
                 "time": datetime.now(timezone.utc).isoformat(), "device": "python", "vital_id": vital_id}
        with lock:
            waiting[vital_id] = vital
            while len(waiting) > 600:  # ten minutes: a real device keeps more, on disk
                waiting.pop(next(iter(waiting)))
        publish()
        time.sleep(1)


def encode(samples):
    """First differences, zigzag, in varints, in base64: docs/protocol.md, section 9."""
    data, last = bytearray(), 0
    for sample in samples:
        d, last = sample - last, sample
        z = 2 * d if d >= 0 else -2 * d - 1
        while z > 127:
            data.append(z % 128 + 128)
            z //= 128
        data.append(z)
    return base64.b64encode(data).decode()


def beat():
    """Sends a plethysmogram, a quarter of a second at a time."""
    global chunks
    phase, begun, number = 0.0, time.time(), 0
    while True:
        samples = []
        for _ in range(CHUNK):
            phase = (phase + pulse / 60 / RATE) % 1
            samples.append(round(1000 * math.exp(-30 * (phase - 0.3) ** 2) + 250 * math.exp(-60 * (phase - 0.6) ** 2)))
        at = begun + number * CHUNK / RATE
        number += 1
        wave = {"patient": args.patient, "code": "150452", "system": "mdc", "device": "python", "unit": "1", "factor": 0.001, "rate": RATE, "n": number,
                "time": datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds"), "data": encode(samples)}
        with lock:
            sends = ready and chunks - seen < ahead
            chunks += sends
        if sends:
            try:
                ws.send(json.dumps({"type": "wave", "waves": [wave]}))
            except (websocket.WebSocketException, OSError):
                pass  # on_close follows
        time.sleep(max(0, at + CHUNK / RATE - time.time()))


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
    global ready, most, ahead, chunks, seen
    frame = json.loads(message)
    if frame["type"] == "welcome":
        with lock:
            ready, most, ahead, chunks, seen = True, frame["limits"]["vitals"], frame["limits"].get("waves", 0), 0, 0
            sent.clear()
            requests.clear()
        publish()
    elif frame["type"] == "waves":
        with lock:
            seen = frame["count"]
        for refusal in frame.get("refused", []):
            print("refused a wave:", refusal["error"]["code"], refusal["error"].get("field", ""))
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
            publish()  # the vitals that found no room


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
threading.Thread(target=beat, daemon=True).start()
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
