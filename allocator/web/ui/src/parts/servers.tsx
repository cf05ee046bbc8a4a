// Servers as a table: the same wherever they are shown.
import type { ServerStatus } from "../gen/shardmanager/v1/admin_pb";
import { to } from "../router";
import { count, duration, regionOf, serverNotes, stateWord, zoneOf } from "../words";
import { AppLink, ServerLink, StatePill } from "./bits";
import { Table, type Column } from "./table";

const id = (s: ServerStatus) => s.server?.id ?? "";

const columns: Column<ServerStatus>[] = [
  { title: "Server", text: id, cell: (s) => <ServerLink id={id(s)} />, order: id, width: 5 },
  { title: "State", text: (s) => stateWord(s.state) + (s.draining ? ", draining" : ""), cell: (s) => <StatePill of={s} />, order: (s) => s.state, width: 4 },
  { title: "App", text: (s) => s.server?.app ?? "", cell: (s) => <AppLink app={s.server?.app ?? ""} />, order: (s) => s.server?.app ?? "", width: 3 },
  { title: "Region", text: (s) => regionOf(s.server?.locality), order: (s) => regionOf(s.server?.locality), width: 3 },
  { title: "Zone", text: (s) => zoneOf(s.server?.locality), order: (s) => zoneOf(s.server?.locality), width: 3 },
  { title: "Primaries", text: (s) => count(s.shards), order: (s) => s.shards, number: true, width: 3 },
  { title: "Secondaries", text: (s) => count(s.secondaries), order: (s) => s.secondaries, number: true, width: 3 },
  { title: "Moves", text: (s) => count(s.moves), order: (s) => s.moves, number: true, width: 2 },
  { title: "Renewed", text: (s) => (s.lastRenewalMs < 0n ? "never" : `${duration(s.lastRenewalMs)} ago`), order: (s) => s.lastRenewalMs, number: true, width: 3 },
  { title: "Version", text: (s) => s.server?.version ?? "", order: (s) => s.server?.version ?? "", width: 2 },
  { title: "Notes", text: serverNotes, width: 5 },
];

interface Props {
  of: ServerStatus[];
  height: number;
  search?: string;
  onSearch?: (text: string) => void;
}

export function ServersTable({ of, height, search, onSearch }: Props) {
  return (
    <Table
      name="Servers"
      rows={of}
      columns={columns}
      keyOf={id}
      hrefOf={(s) => to("servers", id(s))}
      empty="There are no servers: start an agent and an application."
      height={height}
      {...(onSearch ? { search: search ?? "", onSearch } : {})}
    />
  );
}
