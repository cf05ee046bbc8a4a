// Shards as a table, from the map.
import { to } from "../router";
import type { ShardRow } from "../shardmap";
import { count } from "../words";
import { Pill, ServerLink, ShardLink } from "./bits";
import { Table } from "./table";

interface Props {
  app: string;
  of: ShardRow[];
  height: number;
  search: string;
  onSearch: (text: string) => void;
  empty: string;
}

export function ShardsTable({ app, of, height, search, onSearch, empty }: Props) {
  return (
    <Table
      name="Shards"
      rows={of}
      keyOf={(r) => r.id}
      hrefOf={(r) => to("apps", app, "shards", r.id)}
      empty={empty}
      height={height}
      search={search}
      onSearch={onSearch}
      columns={[
        { title: "Shard", text: (r) => r.id, cell: (r) => <ShardLink app={app} shard={r.id} />, order: (r) => r.id, width: 3 },
        { title: "Primary", text: (r) => r.primary, cell: (r) => (r.primary ? <ServerLink id={r.primary} /> : <Pill tone={r.secondaries.length > 0 ? "quiet" : "bad"}>nobody</Pill>), order: (r) => r.primary, width: 4 },
        { title: "Term", text: (r) => count(r.term), order: (r) => r.term, number: true, width: 2 },
        { title: "Secondaries", text: (r) => r.secondaries.join(", "), cell: (r) => (r.secondaries.length > 0 ? r.secondaries.map((id, i) => [i > 0 && ", ", <ServerLink id={id} />]) : "–"), order: (r) => r.secondaries.length, width: 8 },
      ]}
    />
  );
}
