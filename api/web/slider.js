// The slider that takes the page of a run back to any of its events. Arrow keys, Page Up and Down, Home and End move it.
import { html } from "./vendor/preact.js";
import { Time } from "./parts.js";

export function Slider({ events, seq, onSeq }) {
  const last = events.length ? events[events.length - 1].seq : 0;
  if (last < 2) return null;
  const at = seq === null ? last : seq;
  const event = events.find((one) => one.seq === at);
  const to = (wanted) => onSeq(wanted >= last ? null : Math.max(1, wanted));
  const said = event ? `${event.type}${event.node ? ` ${event.node}` : ""}` : "";
  return html`<div class="slider">
    <label for="slider">Event</label>
    <button type="button" aria-label="one event back" disabled=${at <= 1} onClick=${() => to(at - 1)}>‹</button>
    <input id="slider" type="range" min="1" max=${last} value=${at} aria-valuetext=${`${at} of ${last}: ${said}`}
      onInput=${(moved) => to(Number(moved.target.value))} />
    <button type="button" aria-label="one event on" disabled=${at >= last} onClick=${() => to(at + 1)}>›</button>
    <output for="slider">${at} of ${last}: ${said} ${event && html`<${Time} at=${event.at} isClock=${true} />`}</output>
    ${seq !== null && html`<button type="button" onClick=${() => onSeq(null)}>now</button>`}</div>`;
}
