// A shard map in rows, made of the columns that come over the wire.
import { admin } from "./api";
import type { ShardMapSnapshot } from "./gen/shardmanager/v1/shardmap_pb";
import type { Server } from "./gen/shardmanager/v1/types_pb";

export interface ShardRow {
  id: string;
  // Server ids; the primary is empty where there is none.
  primary: string;
  term: bigint;
  secondaries: string[];
}

export interface ShardMap {
  version: ShardMapSnapshot["version"];
  rows: ShardRow[];
}

export async function shardMap(app: string, signal: AbortSignal): Promise<ShardMap> {
  const { snapshot } = await admin.getShardMap({ app }, { signal });
  if (!snapshot) return { version: undefined, rows: [] };
  const named = snapshot.keySpace?.kind.case === "named" ? snapshot.keySpace.kind.value.ids : undefined;
  const shards = named?.length ?? (snapshot.keySpace?.kind.case === "hash" ? snapshot.keySpace.kind.value.shards : 0);
  const width = String(Math.max(0, shards - 1)).length;
  const rows: ShardRow[] = [];
  for (let i = 0; i < shards; i++) {
    const id = named ? named[i] : String(i).padStart(width, "0");
    if (!id) continue; // of a named key space: deleted
    const secondaries = snapshot.secondaries.map((column) => idAt(snapshot.servers, column.servers[i])).filter(Boolean);
    rows.push({ id, primary: idAt(snapshot.servers, snapshot.primaries[i]), term: snapshot.terms[i] ?? 0n, secondaries });
  }
  return { version: snapshot.version, rows };
}

// Positions count from 1; 0 is nobody.
const idAt = (servers: Server[], at: number | undefined) => (at ? servers[at - 1]?.id : undefined) ?? "";

// Loads of the shards of an app, by shard and metric, per replica; a plan's worth of work for the leader.
export async function shardLoads(app: string, signal: AbortSignal): Promise<Map<string, Record<string, bigint>>> {
  const { state } = await admin.simulate({ app, maxRounds: 1, withState: true }, { signal });
  return new Map(state?.shards.map((shard) => [shard.id, shard.load]));
}
