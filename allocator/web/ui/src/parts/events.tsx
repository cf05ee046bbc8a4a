// Events as a table, the newest first.
import { useMemo } from "preact/hooks";
import { keyOf, say, timeOf } from "../events";
import type { Event } from "../gen/shardmanager/v1/admin_pb";
import { to } from "../router";
import { AppLink, Pill, ServerLink, ShardLink } from "./bits";
import { Table, type Column } from "./table";

type Row = { event: Event; said: ReturnType<typeof say> };

const columns: Column<Row>[] = [
  { title: "Time", text: (r) => timeOf(r.event), width: 3 },
  { title: "What", text: (r) => r.said.what, cell: (r) => (r.said.tone === "quiet" ? r.said.what : <Pill tone={r.said.tone}>{r.said.what}</Pill>), width: 5 },
  { title: "App", text: (r) => r.said.app, cell: (r) => <AppLink app={r.said.app} />, width: 3 },
  { title: "Shard", text: (r) => r.said.shard, cell: (r) => <ShardLink app={r.said.app} shard={r.said.shard} />, width: 3 },
  { title: "Server", text: (r) => r.said.server, cell: (r) => <ServerLink id={r.said.server} />, width: 4 },
  { title: "Why", text: (r) => r.said.why, width: 10 },
];

function hrefOf({ said }: Row): string {
  if (said.app && said.shard) return to("apps", said.app, "shards", said.shard);
  return said.server ? to("servers", said.server) : to("events");
}

export function EventsTable({ of, height, search, onSearch }: { of: Event[]; height: number; search?: string; onSearch?: (text: string) => void }) {
  const rows = useMemo(() => of.map((event) => ({ event, said: say(event) })).reverse(), [of]);
  return (
    <Table
      name="Events"
      rows={rows}
      columns={columns}
      keyOf={(r) => keyOf(r.event)}
      hrefOf={hrefOf}
      empty="Nothing happened that this leader remembers."
      height={height}
      {...(onSearch ? { search: search ?? "", onSearch } : {})}
    />
  );
}
