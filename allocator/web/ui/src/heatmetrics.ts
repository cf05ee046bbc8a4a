// What servers are compared by on the map.
import type { ServerStatus } from "./gen/shardmanager/v1/admin_pb";
import type { ShardMap } from "./shardmap";
import { amount, count, duration, metricWord } from "./words";

export interface Metric {
  id: string;
  title: string;
  // Undefined: not known of this server.
  of: (s: ServerStatus) => number | undefined;
  text: (value: number) => string;
  // The value that has the last colour; undefined: the greatest that there is.
  full?: number;
}

const number = (n: number) => count(n);

// What the agent measured of the control group that limits the application, else of the host: used over limit, in percent.
function used(s: ServerStatus, metric: string): number | undefined {
  for (const resources of [s.usage?.cgroup, s.usage?.host]) {
    const use = resources?.used[metric];
    const limit = resources?.limit[metric];
    if (use !== undefined && limit) return (100 * Number(use)) / Number(limit);
  }
  return undefined;
}

const percent = (n: number) => `${Math.round(n)} %`;

export const known: Metric[] = [
  { id: "replicas", title: "Replicas", of: (s) => s.shards + s.secondaries, text: number },
  { id: "primaries", title: "Primaries", of: (s) => s.shards, text: number },
  { id: "secondaries", title: "Secondaries", of: (s) => s.secondaries, text: number },
  { id: "moves", title: "Open moves", of: (s) => s.moves, text: number },
  { id: "cpu", title: "CPU in use", of: (s) => used(s, "cpu_milli"), text: percent, full: 100 },
  { id: "memory", title: "Memory in use", of: (s) => used(s, "memory_bytes"), text: percent, full: 100 },
  { id: "disk", title: "Disk in use", of: (s) => used(s, "disk_bytes"), text: percent, full: 100 },
  { id: "renewal", title: "Since the last renewal", of: (s) => (s.lastRenewalMs < 0n ? undefined : Number(s.lastRenewalMs)), text: duration },
];

export type Loads = Map<string, Record<string, bigint>>;

// One metric for each load that the shards of an app have: the sum over the replicas of a server.
export function loadMetrics(map: ShardMap, loads: Loads): Metric[] {
  const byServer = new Map<string, Record<string, number>>();
  const names = new Set<string>();
  for (const row of map.rows) {
    const load = loads.get(row.id) ?? {};
    for (const server of [row.primary, ...row.secondaries]) {
      if (!server) continue;
      const sum = byServer.get(server) ?? {};
      for (const [metric, value] of Object.entries(load)) {
        names.add(metric);
        sum[metric] = (sum[metric] ?? 0) + Number(value);
      }
      byServer.set(server, sum);
    }
  }
  return [...names].sort().map((name) => ({
    id: `load:${name}`,
    title: `Load: ${metricWord(name)}`,
    of: (s) => byServer.get(s.server?.id ?? "")?.[name] ?? 0,
    text: (value) => amount(name, Math.round(value)),
  }));
}
