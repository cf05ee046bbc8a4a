// What the page knows of the cluster, kept fresh. Events come by a stream; each one has the figures asked for again soon. Nothing is asked while
// nobody looks at the page, so that tabs in the background cost neither connections nor the leader's time.
import { batch, effect, signal } from "@preact/signals";
import { admin, troubleOf, type Trouble } from "./api";
import type { AppSpec, Event, EventPosition, ListMovesResponse, ListServersResponse, GetStatusResponse } from "./gen/shardmanager/v1/admin_pb";

// Most events that are kept; older ones are dropped.
export const mostEvents = 5_000;
// How many events before now are asked for at the beginning.
const eventsBefore = 500n;
// Figures are asked for again at least so often, and after an event no sooner than this after the last answer, in milliseconds.
const refreshAtLeast_ms = 5_000;
const refreshAtMost_ms = 1_000;
// The stream says every 10 s that it lives; without a word for so long it is opened again.
const silence_ms = 25_000;
// Waits between tries to open the stream.
const retryFirst_ms = 250;
const retryMost_ms = 5_000;

export type Connection = "connecting" | "live" | "standby" | "lost" | "paused";

export const connection = signal<Connection>("connecting");
export const trouble = signal<Trouble>();
export const status = signal<GetStatusResponse>();
export const servers = signal<ListServersResponse["servers"]>();
export const apps = signal<AppSpec[]>();
export const moves = signal<ListMovesResponse>();
// In order, the newest last.
export const events = signal<Event[]>([]);
// Counts answers, for pages that ask for more: they ask again when it changes.
export const round = signal(0);

const visible = signal(!document.hidden);
document.addEventListener("visibilitychange", () => (visible.value = !document.hidden));

let position: EventPosition | undefined;
let last = { ended: 0, took: 0 };
let asking = false;
let due: number | undefined;

// The figures, all at once. A standby answers with its status, and refuses the rest with where the leader is.
async function refresh(): Promise<void> {
  if (asking) return;
  asking = true;
  const began = performance.now();
  try {
    const told = admin.getStatus({}).then((answer) => (status.value = answer));
    const [s, a, m] = await Promise.all([admin.listServers({}), admin.listApps({}), admin.listMoves({}), told]);
    batch(() => {
      servers.value = s.servers;
      apps.value = a.specs;
      moves.value = m;
      round.value++;
    });
  } catch (error) {
    failed(error);
  } finally {
    asking = false;
    last = { ended: performance.now(), took: performance.now() - began };
  }
}

function failed(error: unknown): void {
  const what = troubleOf(error);
  batch(() => {
    trouble.value = what;
    connection.value = what.standby ? "standby" : "lost";
  });
}

// Asks for the figures soon: a large cluster, whose answers take long, less often.
function refreshSoon(): void {
  if (due !== undefined) return;
  const wait = Math.max(refreshAtMost_ms, 4 * last.took) - (performance.now() - last.ended);
  due = window.setTimeout(() => {
    due = undefined;
    void refresh();
  }, Math.max(0, wait));
}

let unseen: Event[] = [];

// Shows events with the next frame: a burst of them is painted once.
function show(more: Event[]): void {
  if (unseen.length === 0) {
    window.requestAnimationFrame(() => {
      events.value = [...events.value, ...unseen].slice(-mostEvents);
      unseen = [];
      refreshSoon();
    });
  }
  unseen.push(...more);
}

// Follows events until the stream ends or stop is called.
async function follow(stop: AbortController): Promise<void> {
  let timer: number | undefined;
  const heard = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => stop.abort(), silence_ms);
  };
  heard();
  try {
    const request = position ? { after: position, follow: true } : { follow: true };
    for await (const answer of admin.watchEvents(request, { signal: stop.signal })) {
      heard();
      batch(() => {
        connection.value = "live";
        trouble.value = undefined;
      });
      if (answer.events.length > 0) show(answer.events);
      position = answer.position ?? position;
    }
  } finally {
    window.clearTimeout(timer);
  }
}

async function start(stopped: AbortSignal): Promise<void> {
  let wait = retryFirst_ms;
  while (!stopped.aborted) {
    await refresh();
    const newest = status.value?.events;
    if (!position && newest?.epoch) {
      position = { ...newest, sequence: newest.sequence > eventsBefore ? newest.sequence - eventsBefore : 0n };
    }
    const stop = new AbortController();
    const end = () => stop.abort();
    stopped.addEventListener("abort", end);
    try {
      await follow(stop);
      wait = retryFirst_ms;
    } catch (error) {
      if (!stopped.aborted) failed(error);
    } finally {
      stopped.removeEventListener("abort", end);
    }
    await new Promise((resolve) => window.setTimeout(resolve, wait));
    wait = Math.min(2 * wait, retryMost_ms);
  }
}

// Begins to keep everything fresh, for as long as the page is looked at.
export function live(): void {
  effect(() => {
    if (!visible.value) return undefined;
    const stop = new AbortController();
    connection.value = "connecting";
    void start(stop.signal);
    const tick = window.setInterval(refreshSoon, refreshAtLeast_ms);
    return () => {
      stop.abort();
      window.clearInterval(tick);
      connection.value = "paused";
    };
  });
}
