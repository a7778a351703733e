#!/usr/bin/env python3
"""A clinician who watches patients and accepts every alert that nobody has.

After a lost connection it goes on where it stopped.

Needs websocket-client (Debian: python3-websocket).
"""
import argparse
import json
import random
import signal
import time
import uuid

import websocket

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--url", default="ws://127.0.0.1:8080/carewire")
parser.add_argument("--token", default="nurse-ada")
parser.add_argument("--patient", action="append", default=[])
parser.add_argument("--group", action="append", default=[])
args = parser.parse_args()
if not args.patient and not args.group:
    args.group = ["ward-5"]

positions = {}  # by patient: where to resume
catching_up = set()  # patients whose snapshot still comes
answers = {}  # event_id: an answer that has no final reply yet
answered = set()  # alerts answered, until somebody has them


def send(ws, type, **members):
    ws.send(json.dumps({"type": type, "req": str(uuid.uuid4()), **members}))


def watch(ws):
    send(ws, "watch", req="watch", **{name: ids for name, ids in (("patients", args.patient), ("groups", args.group)) if ids}, since=positions)


def on_open(ws):
    print("connected")


def on_message(ws, message):
    frame = json.loads(message)
    kind, patient = frame["type"], frame.get("patient")
    if kind == "welcome":
        watch(ws)
        for event_id in list(answers):
            answer(ws, event_id)
    elif kind == "ok" and "watching" in frame:
        print("watching", ", ".join(frame["watching"]), "refused", frame["refused"])
        if any(refusal["code"] in ("undecided", "unavailable") for refusal in frame["refused"]):
            time.sleep(1)
            watch(ws)
    elif kind == "error" and frame.get("req") == "watch":
        print("not watching:", frame["code"])
        if frame["retry"] == "later":
            time.sleep(1)
            watch(ws)
    elif kind in ("ok", "error"):
        reply(ws, frame)
    elif kind == "sync" and not frame["recovered"]:
        positions.pop(patient, None)  # a snapshot begins: the earlier state is void
        catching_up.add(patient)
    elif kind == "synced":
        catching_up.discard(patient)
    elif kind == "vital":
        vital = frame["vital"]
        parts = "/".join(str(c["value"]) for c in vital.get("components", []))
        value = vital["value"] if "value" in vital else parts or vital.get("coded", {}).get("code", "no value")
        print(vital["time"], patient, vital["code"], value, vital.get("unit", ""))
    elif kind == "alert":
        see(ws, frame["alert"])
    elif kind == "notice":
        print("NOTICE", patient, frame["notice"]["from"] + ":", frame["notice"]["text"])
    if kind != "sync" and frame.get("epoch") and patient not in catching_up:
        positions[patient] = {"epoch": frame["epoch"], "seq": frame["seq"]}


def see(ws, alert):
    who = alert["responsibility"].get("by", {}).get("id", "nobody")
    print("ALERT", alert["patient"], alert["priority"], alert["text"], "over" if alert.get("ended") else alert["condition"], "with", who)
    name = (alert["patient"], alert["alert_id"])
    if alert.get("ended") or alert["responsibility"]["state"] == "accepted":
        answered.discard(name)  # an acceptance runs out
        return
    if name in answered:
        return
    ref = {name: alert[name] for name in ("patient", "key", "alert_id")}
    send(ws, "receipt", stage="presented", **ref)
    event_id = str(uuid.uuid4())  # by it the server knows a repeated answer
    answers[event_id] = {**ref, "event_id": event_id, "do": "accept", "reason": "on my way"}
    answered.add(name)
    answer(ws, event_id)


def answer(ws, event_id):
    ws.send(json.dumps({"type": "answer", "req": event_id, **answers[event_id]}))


def reply(ws, frame):
    event_id = frame.get("req")
    if event_id not in answers:
        return
    if frame["type"] == "error" and frame["retry"] == "later":
        time.sleep(1)
        answer(ws, event_id)
        return
    alert = answers.pop(event_id)
    print("ACCEPTED" if frame["type"] == "ok" else "not accepted: " + frame["code"], alert["patient"], alert["key"])


def on_error(ws, error):
    global again
    print("error:", error)
    if getattr(error, "status_code", 0) in (400, 401, 403, 421, 426):  # of a refused handshake
        again = False


def on_close(ws, code, reason):
    global again
    print("closed:", code, reason or "")
    if code in (1002, 1003, 1007, 1008, 1009, 3003):
        again = False


websocket.setdefaulttimeout(30)  # for the handshake
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it
again = True  # come back when the connection is lost
attempt = 0
while again:
    ws = websocket.WebSocketApp(args.url, header=["Authorization: Bearer " + args.token], subprotocols=["carewire.v1"],
                                on_open=on_open, on_message=on_message, on_error=on_error, on_close=on_close)
    began = time.monotonic()
    ws.run_forever(ping_interval=20, ping_timeout=7)  # a line can die without a word
    attempt = 0 if time.monotonic() - began > 30 else attempt + 1
    time.sleep(random.uniform(0, min(30, 0.5 * 2**attempt)))
