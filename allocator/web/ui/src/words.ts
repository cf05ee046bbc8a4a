// How values are said.
import { MoveReason, MoveStep, Replication, ServerState, type AppSpec, type ServerStatus } from "./gen/shardmanager/v1/admin_pb";
import type { KeySpace, Locality, MapVersion } from "./gen/shardmanager/v1/types_pb";


// A name of an enum as words: PREPARE_ADD is "prepare add".
export function word(of: Record<number, string>, value: number): string {
  return (of[value] ?? "unknown").toLowerCase().replaceAll("_", " ");
}

export const stateWord = (state: ServerState) => word(ServerState, state);
export const reasonWord = (reason: MoveReason) => word(MoveReason, reason);
export const replicationWord = (r: Replication) => word(Replication, r).replaceAll(" ", "-");

// The eight steps of a move, by number; 0: it goes back, or is over.
export const steps = ["open", "prepare add", "prepare drop", "commit", "add", "linger", "drop", "close"];
export const stepNumber = (step: MoveStep) => (step >= MoveStep.OPENING && step <= MoveStep.CLOSING ? step : 0);
export const stepWord = (step: MoveStep) => word(MoveStep, step);

const grouped = new Intl.NumberFormat("en-GB");
export const count = (n: number | bigint) => grouped.format(n);
export const plural = (n: number | bigint, one: string, many = `${one}s`) => `${count(n)} ${BigInt(n) === 1n ? one : many}`;

export function duration(ms: number | bigint): string {
  const n = Number(ms);
  if (n < 1_000) return `${Math.round(n)} ms`;
  if (n < 60_000) return `${(n / 1_000).toFixed(1)} s`;
  if (n < 3_600_000) return parts(Math.floor(n / 60_000), "min", Math.floor((n % 60_000) / 1_000), "s");
  return parts(Math.floor(n / 3_600_000), "h", Math.floor((n % 3_600_000) / 60_000), "min");
}

const parts = (n: number, unit: string, rest: number, small: string) => (rest === 0 ? `${n} ${unit}` : `${n} ${unit} ${rest} ${small}`);

export function bytes(n: number | bigint): string {
  let value = Number(n);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

// An amount of a metric, whose unit is in its name.
export function amount(metric: string, value: number | bigint): string {
  if (metric.endsWith("_bytes")) return bytes(value);
  if (metric.endsWith("_bytes_per_second")) return `${bytes(value)}/s`;
  if (metric.endsWith("_milli")) return (Number(value) / 1_000).toFixed(2);
  return count(value);
}

export const metricWord = (metric: string) => metric.replace(/_(bytes|milli)$/, "").replace(/_bytes_per_second$/, " per second").replaceAll("_", " ");

export function keySpaceWord(space: KeySpace | undefined): string {
  switch (space?.kind.case) {
    case "hash":
      return `hash, ${plural(space.kind.value.shards, "shard")}`;
    case "named":
      return "named";
    default:
      return "unknown";
  }
}

// Shards that an app must have placed; undefined: only its map knows.
export function shardsOf(app: AppSpec): number | undefined {
  return app.keySpace?.kind.case === "hash" ? app.keySpace.kind.value.shards : undefined;
}

export const regionOf = (l: Locality | undefined) => l?.region || "no region";
export const zoneOf = (l: Locality | undefined) => l?.zone || "no zone";
export const placeWord = (l: Locality | undefined) => [l?.region, l?.zone, l?.rack, l?.host].filter(Boolean).join(" / ");
export const versionWord = (v: MapVersion | undefined) => (v ? `${v.epoch?.index ?? 0}.${v.counter}` : "none");

// What is unusual about a server; empty: nothing.
export function serverNotes(s: ServerStatus): string {
  const notes = [];
  if (s.draining) notes.push("draining");
  if (s.probationMs > 0) notes.push(`on probation for ${duration(s.probationMs)}: ${s.probationReason}`);
  if (s.reason) notes.push(s.reason);
  return notes.join("; ");
}

// How a server stands, for colours: what is planned is not trouble.
export function serverTone(s: ServerStatus): "good" | "warn" | "bad" | "quiet" {
  switch (s.state) {
    case ServerState.ATTACHED:
      return s.draining || s.probationMs > 0 ? "warn" : "good";
    case ServerState.RESTING:
    case ServerState.ENDED:
      return "quiet";
    case ServerState.AWAITED:
    case ServerState.DEGRADED:
      return "warn";
    default:
      return "bad";
  }
}
