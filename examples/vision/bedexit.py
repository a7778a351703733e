"""Sees from a fixed camera whether somebody is in bed.

It needs Debian's python3-opencv. It prints one JSON line a frame: where the
person is, and how sure that is. No picture is kept, and none leaves the process.

    python3 bedexit.py draw SCENE:SEED …   frames that draw.py makes, 80 for each scene
    python3 bedexit.py camera NUMBER       a camera that looks at the bed, empty at first
"""
import json
import sys

import cv2
import numpy

import draw

cv2.setNumThreads(1)  # small pictures: more threads only wait for each other

DARK = 25          # mean brightness below which nothing can be seen
DIFFERENT = 28     # grey levels by which a pixel differs from the empty room
SMALL = 500        # pixels of which a person has more, at 320 x 240


class BedExit:
    """Compares each frame with the empty room. `bed` is x, y, width, height."""

    def __init__(self, empty, bed):
        self.empty = cv2.GaussianBlur(cv2.cvtColor(empty, cv2.COLOR_BGR2GRAY), (5, 5), 0).astype(numpy.float32)
        self.bed = bed

    def look(self, frame):
        """Returns where (bed, edge, floor, nobody), out (0 to 1: how much speaks
        for somebody having left the bed), and unknown, a reason if it cannot be said."""
        grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (5, 5), 0).astype(numpy.float32)
        if grey.mean() < DARK:
            return {"unknown": "too dark"}
        grey *= numpy.median(self.empty) / max(1.0, numpy.median(grey))  # daylight changes for the whole room
        changed = (numpy.abs(grey - self.empty) > DIFFERENT).astype(numpy.uint8)
        changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, numpy.ones((5, 5), numpy.uint8))
        changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, numpy.ones((15, 15), numpy.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(changed)
        people = [i for i in range(1, len(stats)) if stats[i][cv2.CC_STAT_AREA] >= SMALL]
        if len(people) > 1:
            return {"unknown": "several people"}
        if not people:
            return {"where": "nobody", "out": 0.95}
        x, y, width, height = self.bed
        area = stats[people[0]][cv2.CC_STAT_AREA]
        inside = int((labels[y:y + height, x:x + width] == people[0]).sum()) / area
        where = "bed" if inside > 0.7 else "edge" if inside > 0.25 else "floor"
        return {"where": where, "out": round(1 - inside, 2)}


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("draw", "camera"):
        sys.exit(__doc__)
    if sys.argv[1] == "draw":
        scenes = (scene.split(":") for scene in sys.argv[2:])
        frames = (frame for name, seed in scenes for frame in draw.scene(name, int(seed)))
        detector = BedExit(draw.room(), draw.BED)
    else:
        camera = cv2.VideoCapture(int(sys.argv[2]))
        ok, empty = camera.read()
        if not ok:
            sys.exit("the camera gives no picture")
        detector = BedExit(cv2.resize(empty, (320, 240)), draw.BED)
        frames = (cv2.resize(frame, (320, 240)) for ok, frame in iter(camera.read, (False, None)) if ok)
    for frame in frames:
        print(json.dumps(detector.look(frame)), flush=True)


if __name__ == "__main__":
    main()
