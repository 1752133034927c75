// Which part of a plane is seen, and how large: {x, y, scale}, the corner at the top left and pixels for each unit.
// What a hand does changes it: wheel, drag and pinch.
import { useEffect, useRef, useState } from "./vendor/preact.js";

const LEGIBLE = 0.72; // what is not shown whole
const SMALLEST = 0.6; // less is not read
const LARGEST = 1.1; // few nodes do not fill the frame
const FAR = 0.02;
const NEAR = 4;
const STEP = 1.25;

// All of a plane within a frame; a large one not whole, unless that is asked for, but from its beginning.
export function fit(plane, frame, begin, isWhole) {
  const whole = Math.min(LARGEST, frame.width / plane.width, frame.height / plane.height);
  const scale = isWhole || whole >= SMALLEST ? whole : LEGIBLE;
  const across = frame.width / scale;
  const down = frame.height / scale;
  return {
    scale,
    x: plane.width <= across ? (plane.width - across) / 2 : 0,
    y: plane.height <= down ? (plane.height - down) / 2 : Math.min(Math.max(0, begin.y - down / 2), plane.height - down),
  };
}

export function zoomed(view, factor, at) {
  const scale = Math.min(NEAR, Math.max(FAR, view.scale * factor));
  return { scale, x: view.x + at.x / view.scale - at.x / scale, y: view.y + at.y / view.scale - at.y / scale };
}

// The least that the view has to move so that a place is well within the frame, where that has so much room.
export function showing(view, frame, { x, y }, room) {
  const within = (at, low, size) => {
    const around = Math.min(room, size / 4);
    return Math.min(Math.max(low, at + around - size), at - around);
  };
  const [across, down] = [frame.width / view.scale, frame.height / view.scale];
  return { scale: view.scale, x: within(x, view.x, across), y: within(y, view.y, down) };
}

// The part of the plane that is drawn: larger than what is seen and rounded, so that few movements need another one.
export function cell(view, frame) {
  const [left, right] = rounded(view.x, frame.width / view.scale);
  const [top, bottom] = rounded(view.y, frame.height / view.scale);
  return { left, right, top, bottom };
}

function rounded(from, size) {
  const step = 2 ** Math.floor(Math.log2(size / 4));
  return [(Math.floor(from / step) - 1) * step, (Math.ceil((from + size) / step) + 1) * step];
}

export const meets = (one, other) =>
  one.left <= other.right && one.right >= other.left && one.top <= other.bottom && one.bottom >= other.top;

// The size of an element, as it is now and whenever it changes.
export function useSize(element) {
  const [size, setSize] = useState(null);
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      if (width && height) setSize({ width, height });
    });
    watcher.observe(element.current);
    return () => watcher.disconnect();
  }, []);
  return size;
}

// Hands over an element: `move` is called with what makes a view of a view. `pick` is told where somebody has clicked.
export function useHands(element, move, pick) {
  const held = useRef(new Map());
  const told = useRef(null);
  told.current = { move, pick };
  useEffect(() => {
    const onWheel = (event) => {
      event.preventDefault();
      told.current.move((view) => zoomed(view, event.deltaY < 0 ? STEP : 1 / STEP, within(event, element.current)));
    };
    element.current.addEventListener("wheel", onWheel, { passive: false });
    return () => element.current?.removeEventListener("wheel", onWheel);
  }, []);
  const far = useRef(0);
  const leave = (event) => held.current.delete(event.pointerId);
  return {
    onPointerDown: (event) => {
      held.current.set(event.pointerId, within(event, element.current));
      if (held.current.size === 1) far.current = 0;
    },
    onPointerMove: (event) => {
      const before = held.current.get(event.pointerId);
      if (!before) return;
      const now = within(event, element.current);
      const [dx, dy] = [now.x - before.x, now.y - before.y];
      far.current += Math.abs(dx) + Math.abs(dy);
      if (far.current > 4) event.currentTarget.setPointerCapture(event.pointerId);
      const other = [...held.current.entries()].find(([id]) => id !== event.pointerId)?.[1];
      held.current.set(event.pointerId, now);
      if (!other) move((view) => ({ ...view, x: view.x - dx / view.scale, y: view.y - dy / view.scale }));
      else move((view) => zoomed(view, apart(now, other) / Math.max(1, apart(before, other)), other));
    },
    onPointerUp: (event) => {
      leave(event);
      if (far.current <= 4) pick(within(event, element.current), event);
    },
    onPointerCancel: leave,
  };
}

const apart = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);

function within(event, element) {
  const box = element.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

export const closer = (frame) => (view) => zoomed(view, STEP, { x: frame.width / 2, y: frame.height / 2 });
export const farther = (frame) => (view) => zoomed(view, 1 / STEP, { x: frame.width / 2, y: frame.height / 2 });
