// Events as sentences.
import { ServerState, type Event } from "./gen/shardmanager/v1/admin_pb";

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

// Time of day by the leader's clock, in this browser's time zone.
export const timeOf = (event: Event) => clock.format(Number(event.timeMs));
// Date and time of Unix milliseconds.
export const timestampOf = (ms: bigint) => day.format(Number(ms));

export const keyOf = (event: Event) => `${event.position?.epoch?.generation}.${event.position?.epoch?.index}.${event.position?.sequence}`;

export interface Said {
  what: string;
  app: string;
  shard: string;
  server: string;
  why: string;
  tone: "good" | "warn" | "bad" | "quiet";
}

const nothing: Said = { what: "", app: "", shard: "", server: "", why: "", tone: "quiet" };

export function say(event: Event): Said {
  const body = event.body;
  switch (body.case) {
    case "decision": {
      const d = body.value;
      return { ...nothing, what: d.what, app: d.app, shard: d.shard, server: d.server, why: d.why };
    }
    case "server": {
      const s = body.value;
      const state = (ServerState[s.state] ?? "unknown").toLowerCase();
      const tone = s.state === ServerState.ATTACHED ? (s.draining ? "warn" : "good") : s.state === ServerState.SUSPECT || s.state === ServerState.FENCING ? "bad" : "warn";
      return { ...nothing, what: `server ${state}${s.draining ? ", draining" : ""}`, app: s.app, server: s.server, why: s.reason, tone };
    }
    case "leader": {
      const l = body.value;
      return { ...nothing, what: l.leads ? `${l.allocator} leads` : `${l.allocator} leads no longer`, why: l.why, tone: "warn" };
    }
    case "gap": {
      const g = body.value;
      return { ...nothing, what: g.missed > 0n ? `${g.missed} events are missing` : "events are missing", why: g.why, tone: "warn" };
    }
    default:
      return { ...nothing, what: "an event that this page does not know" };
  }
}
