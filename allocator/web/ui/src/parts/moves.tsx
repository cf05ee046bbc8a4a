// Moves as a table: the same wherever they are shown.
import { MoveStep, type MoveStatus } from "../gen/shardmanager/v1/admin_pb";
import { to } from "../router";
import { bytes, duration, reasonWord, stepNumber, stepWord } from "../words";
import { AppLink, ServerLink, ShardLink, Steps } from "./bits";
import { Table, type Column } from "./table";

const columns: Column<MoveStatus>[] = [
  { title: "App", text: (m) => m.app, cell: (m) => <AppLink app={m.app} />, order: (m) => m.app, width: 4 },
  { title: "Shard", text: (m) => m.shard, cell: (m) => <ShardLink app={m.app} shard={m.shard} />, order: (m) => m.shard, width: 3 },
  { title: "Why", text: (m) => reasonWord(m.reason), order: (m) => m.reason, width: 3 },
  { title: "From", text: (m) => m.from, cell: (m) => <ServerLink id={m.from} />, order: (m) => m.from, width: 5 },
  { title: "To", text: (m) => m.to, cell: (m) => <ServerLink id={m.to} />, order: (m) => m.to, width: 5 },
  { title: "Step", text: (m) => `${stepNumber(m.step) || ""} ${stepWord(m.step)}`, cell: (m) => <Steps move={m} />, order: (m) => m.step, width: 6 },
  { title: "Age", text: (m) => duration(m.ageMs), order: (m) => m.ageMs, number: true, width: 3 },
  { title: "Detail", text: detail, width: 8 },
];

function detail(m: MoveStatus): string {
  const parts = [m.detail];
  if (m.totalBytes > 0n) parts.push(`${bytes(m.progressBytes)} of ${bytes(m.totalBytes)}`);
  if (m.attempts > 0) parts.push(`failed ${m.attempts} times`);
  if (m.deadlineMs >= 0n && m.step < MoveStep.DONE) parts.push(`${duration(m.deadlineMs)} left`);
  return parts.filter(Boolean).join("; ");
}

export const moveKey = (m: MoveStatus) => `${m.app}/${m.shard}/${m.term}/${m.move}`;

interface Props {
  name: string;
  of: MoveStatus[];
  height: number;
  empty: string;
  search?: string;
  onSearch?: (text: string) => void;
}

export function MovesTable({ name, of, height, empty, search, onSearch }: Props) {
  return (
    <Table
      name={name}
      rows={of}
      columns={columns}
      keyOf={moveKey}
      hrefOf={(m) => to("apps", m.app, "shards", m.shard)}
      empty={empty}
      height={height}
      {...(onSearch ? { search: search ?? "", onSearch } : {})}
    />
  );
}
