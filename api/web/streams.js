// What the server tells as it comes. A browser holds six connections to a server, those of all tabs together: what is
// not looked at gives its own back, and some are left for everything else.
import { ping, reached } from "./client.js";
import { exact } from "./numbers.js";

const AGAIN_MS = 2000; // and twice as long each time
const AGAIN_MS_MAX = 60000;
const STREAMS_MAX = 4;
const PLACE_MS = 5000; // between two looks for a place, where all are taken
const SILENT_MS = 15000; // the server says every five seconds that nothing has happened: ALIVE_S of api/streams.py

// Takes a place among the streams of all tabs; returns what gives it back, null where none is free.
async function takePlace() {
  if (!navigator.locks) return () => {}; // at a plain address of another machine tabs know nothing of each other
  for (let number = 0; number < STREAMS_MAX; number += 1) {
    const leave = await new Promise((tell) => {
      navigator.locks
        .request(`courante stream ${number}`, { ifAvailable: true }, (lock) => (lock ? new Promise((leave) => tell(leave)) : tell(null)))
        .catch(() => tell(() => {})); // a browser that denies locks
    });
    if (leave) return leave;
  }
  return null;
}

const isSeen = () => document.visibilityState === "visible";

// Calls `hear` for what a path streams, events of these names; returns what ends it. path(): from where on, whenever a
// line has to be opened; while one is only cut, the browser connects again by itself with the number of the last event.
// isOver(): nothing more is to come. `tell(isLive, isNew)` says how it stands; isNew: a line that begins anew. A line on
// which nothing at all comes is no live one: a server that stands still, or a network that is gone, closes nothing.
export function listen(path, hear, { tell = () => {}, isOver = () => false, names = ["message"] } = {}) {
  let line = null; // {source, leave} while there is one
  let timer = 0;
  let silence = 0;
  let pause = AGAIN_MS;
  let isBusy = false;
  let isHere = true;
  const close = () => {
    clearTimeout(timer);
    clearTimeout(silence);
    line?.source.close();
    line?.leave();
    line = null;
  };
  const later = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(open, ms);
  };
  const open = async () => {
    if (line || isBusy || !isHere || !isSeen() || isOver()) return;
    isBusy = true;
    const leave = await takePlace();
    isBusy = false;
    if (!leave) {
      tell(false, false);
      later(PLACE_MS);
    } else if (!isHere || !isSeen()) leave();
    else connect(leave);
  };
  const connect = (leave) => {
    let isNew = true;
    const source = new EventSource(path());
    line = { source, leave };
    const lose = () => {
      close();
      later(pause);
      pause = Math.min(AGAIN_MS_MAX, 2 * pause);
    };
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        tell(false, false);
        if (!isOver()) ping();
        lose();
      }, SILENT_MS);
    };
    heard();
    source.onopen = () => {
      heard();
      reached();
      tell(true, isNew);
      isNew = false;
      pause = AGAIN_MS;
    };
    source.onerror = () => {
      tell(false, false);
      if (!isOver()) ping();
      if (source.readyState === EventSource.CLOSED) lose();
    };
    source.addEventListener("alive", heard);
    names.forEach((name) =>
      source.addEventListener(name, (message) => {
        heard();
        hear(exact(message.data), message.lastEventId);
      }),
    );
  };
  const look = () => {
    if (isSeen()) open();
    else if (line) [close(), tell(false, false)];
  };
  document.addEventListener("visibilitychange", look);
  open();
  return () => {
    isHere = false;
    document.removeEventListener("visibilitychange", look);
    close();
  };
}
