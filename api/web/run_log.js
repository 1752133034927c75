// The log of a run, kept up to date by its stream.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { get, query } from "./client.js";
import { listen } from "./streams.js";

const PAGE = 1000;
const POLL_MS = 2000; // while the stream is down
const SOON_MS = 200; // after an event
const EVENTS_MAX = 50000;
const ENDS = new Set(["run.completed", "run.failed", "run.cancelled", "run.timed_out"]);

// All events of a run, as [events, isLive]. With new ones `again` is called soon, and not at once again where it takes long.
export function useEvents(path, again) {
  const [events, setEvents] = useState([]);
  const [isLive, setLive] = useState(false);
  const latest = useRef(again);
  latest.current = again;
  useEffect(() => {
    let isHere = true;
    let isUp = false;
    let timer = 0;
    let stop = () => {};
    let pause = SOON_MS;
    let isGone = false; // retention has moved its log away: nothing of it is told any more
    const known = [];
    const last = () => (known.length ? known[known.length - 1].seq : 0);
    const isOver = () => isGone || known.length >= EVENTS_MAX || (known.length > 0 && ENDS.has(known[known.length - 1].type));
    const show = () => {
      timer ||= setTimeout(async () => {
        timer = 0;
        setEvents([...known]);
        const begun = performance.now();
        await latest.current();
        pause = Math.max(SOON_MS, 4 * (performance.now() - begun));
      }, pause);
    };
    const hear = (event) => {
      if (event.seq <= last()) return;
      known.push(event);
      show();
    };
    const load = async () => {
      while (isHere && known.length < EVENTS_MAX) {
        const page = await get(`${path}/events${query({ after: last(), limit: PAGE })}`).catch((error) => {
          isGone = error.code === "log_archived";
          throw error;
        });
        if (isHere) page.events.forEach(hear);
        if (page.next === null) return;
      }
    };
    const tell = (isNow) => {
      isUp = isNow;
      setLive(isNow);
    };
    const follow = () => {
      if (isHere && !isOver()) stop = listen(() => `${path}/events${query({ after: last() })}`, hear, { tell, isOver });
    };
    load().then(follow, follow);
    let isBusy = false;
    const poll = setInterval(async () => {
      if (isUp || isBusy || isOver() || document.visibilityState !== "visible") return;
      isBusy = true;
      await load().catch(() => {});
      isBusy = false;
    }, POLL_MS);
    return () => {
      isHere = false;
      clearTimeout(timer);
      clearInterval(poll);
      stop();
    };
  }, [path]);
  return [events, isLive];
}
