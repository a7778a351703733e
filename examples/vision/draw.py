"""Draws a room with a bed, two frames a second, for bedexit.py to look at."""
import cv2
import numpy

BED = (70, 50, 170, 90)  # x, y, width, height


def room(light=1.0):
    """The empty room: a floor, a bed with a pillow, a window."""
    frame = numpy.full((240, 320, 3), 95, numpy.uint8)
    x, y, width, height = BED
    cv2.rectangle(frame, (x, y), (x + width, y + height), (150, 150, 150), -1)
    cv2.rectangle(frame, (x + 5, y + 20), (x + 35, y + height - 20), (165, 165, 165), -1)
    cv2.rectangle(frame, (10, 5), (60, 40), (190, 190, 190), -1)
    return (frame * light).clip(0, 255).astype(numpy.uint8)


def person(frame, x, y, lying, arm=0):
    """A person whose middle is at x, y; lying people have their head to the left."""
    body, head = (60, 70, 200), (170, 190, 235)
    axes = (45, 17) if lying else (17, 42)
    cv2.ellipse(frame, (x, y), axes, 0, 0, 360, body, -1)
    cv2.circle(frame, (x - 55, y) if lying else (x, y - 52), 13, head, -1)
    if arm:
        cv2.ellipse(frame, (x, y + arm), (22, 5), 20, 0, 360, body, -1)


def scene(name, seed):
    """Yields the frames of a scene: 40 s, in which daylight changes a little and
    every pixel is noisy.

    lies: sleeps and turns. restless: throws arms about. sits: sits up in bed.
    leaves: sits up and walks away. falls: slides to the floor beside the bed.
    returns: is up for two seconds. visit: a nurse comes to the bed and goes.
    dark: the light goes off, and on again.
    """
    rng = numpy.random.default_rng(seed)
    x, y, width, height = BED
    for i in range(80):
        light = 1 + 0.08 * numpy.sin(i / 25 + seed)
        frame = room()
        px, py, lying, arm = x + 90, y + 45, True, 0
        if name == "lies" and i % 30 > 20:
            py += 8
        if name == "restless":
            arm = int(rng.integers(-30, 30))
        if name == "sits" and i > 15:
            px, py, lying = x + 60, y + 40, False
        if name == "leaves" and i > 15:
            px, lying = x + 60, False
            py = min(205, y + 40 + max(0, i - 22) * 9)
            px += max(0, i - 38) * 8
        if name == "falls" and i > 20:
            py = min(y + height + 28, py + (i - 20) * 14)
        if name == "returns" and 20 < i < 25:
            py, lying = y + height + 45, False
        if px < 330:
            person(frame, px, py, lying, arm)
        if name == "visit" and 20 < i < 50:
            nx = 300 - min(i - 20, 50 - i, 5) * 6
            cv2.ellipse(frame, (nx, 170), (18, 45), 0, 0, 360, (215, 215, 120), -1)
        if name == "dark" and 20 < i < 50:
            light = 0.08
        noise = rng.normal(0, 5, frame.shape)
        yield (frame * light + noise).clip(0, 255).astype(numpy.uint8)
