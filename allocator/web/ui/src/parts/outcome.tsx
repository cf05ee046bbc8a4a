// What a simulation came to: in short, then before and after, then what stays undone.
import { MoveKind, type SimulatedState, type SimulateResponse } from "../gen/shardmanager/v1/admin_pb";
import { amount, count, metricWord, plural, reasonWord, word } from "../words";
import { Facts, Pill, Section } from "./bits";
import { Table } from "./table";

export function Outcome({ of }: { of: SimulateResponse }) {
  const loads = Object.entries(of.loadMoved).map(([metric, value]) => `${amount(metric, value)} ${metricWord(metric)}`);
  return (
    <>
      <Section title="In short">
        <p role="status">
          <Pill tone={of.atRest ? "good" : "bad"}>{of.atRest ? `at rest after ${plural(of.rounds.length, "round")}` : `stopped: ${of.stopped}`}</Pill>
        </p>
        {of.notes.map((note) => (
          <p key={note}>{note}</p>
        ))}
        <Facts
          of={[
            ["Moves", count(of.moves)],
            ["Replicas that begin elsewhere", count(of.replicasMoved)],
            ["Loads of those", loads.join(", ") || "none"],
            ["Primaries lost by the changes", count(of.primariesLost)],
            ["Shards lost by the changes", count(of.shardsLost)],
            ["Most moves of one shard", of.mostMoves > 0 ? `${count(of.mostMoves)} (${of.mostMovedShard})` : "none"],
          ]}
        />
      </Section>
      {of.before && of.after && <Compared before={of.before} after={of.after} />}
      <Section title="What the moves are for">
        <Table
          name="Moves by kind and reason"
          rows={byReason(of)}
          keyOf={(r) => r.name}
          empty="Nothing moves."
          height={8}
          columns={[
            { title: "Move", text: (r) => r.name, width: 3 },
            { title: "Moves", text: (r) => count(r.moves), order: (r) => r.moves, number: true, width: 1 },
          ]}
        />
      </Section>
      <Section title="What goals cost">
        <Table
          name="Goals"
          rows={of.goals}
          keyOf={(g) => `${g.tier} ${g.goal} ${g.unit}`}
          empty="No goal is stated."
          height={10}
          columns={[
            { title: "Tier", text: (g) => count(g.tier), number: true, width: 1 },
            { title: "Goal", text: (g) => g.goal, width: 6 },
            { title: "Before", text: (g) => g.beforeText, number: true, width: 3 },
            { title: "After", text: (g) => g.afterText, number: true, width: 3 },
          ]}
        />
      </Section>
      <Section title="What is wanted and stays undone">
        <Table
          name="Blocked"
          rows={of.blocked}
          keyOf={(b) => `${b.kind} ${b.reason} ${b.binds}`}
          empty="Nothing."
          height={8}
          columns={[
            { title: "Move", text: (b) => `${word(MoveKind, b.kind)}, ${reasonWord(b.reason)}`, width: 3 },
            { title: "Forbidden by", text: (b) => b.binds, width: 3 },
            { title: "Shards", text: (b) => count(b.shards), order: (b) => b.shards, number: true, width: 1 },
            { title: "Why", text: (b) => `${b.examples[0] ?? ""}: ${b.why}`, width: 8 },
          ]}
        />
      </Section>
    </>
  );
}

function byReason(of: SimulateResponse): { name: string; moves: number }[] {
  const sums = new Map<string, number>();
  for (const by of of.rounds.flatMap((r) => r.by)) {
    const name = `${word(MoveKind, by.kind)}, ${reasonWord(by.reason)}`;
    sums.set(name, (sums.get(name) ?? 0) + by.moves);
  }
  return [...sums].map(([name, moves]) => ({ name, moves }));
}

const figures: [name: string, of: (s: SimulatedState) => number][] = [
  ["Servers", (s) => s.servers],
  ["Servers that take shards", (s) => s.accepting],
  ["Replicas", (s) => s.replicas],
  ["Shards without an owner", (s) => s.unplaced],
  ["Replicas missing", (s) => s.missing],
  ["Replicas on servers that drain", (s) => s.leaving],
  ["Shards whose replicas are too near", (s) => s.spreadBroken],
  ["Shards short in a region", (s) => s.regionsShort],
  ["Servers above 90 % of a capacity", (s) => s.fullCount],
  ["Servers beyond a capacity", (s) => s.overCapacity],
];

function Compared({ before, after }: { before: SimulatedState; after: SimulatedState }) {
  const rows = figures.map(([name, of]) => ({ name, before: count(of(before)), after: count(of(after)) }));
  const use = (s: SimulatedState, metric: string, region: string) => {
    const b = s.balance.find((v) => v.metric === metric && v.region === region);
    return b ? `${b.emptiest?.sharePercent ?? 0n} to ${b.fullest?.sharePercent ?? 0n} %` : "";
  };
  for (const b of after.balance) {
    rows.push({ name: `Share of ${metricWord(b.metric)}, emptiest to fullest${b.region ? ` in ${b.region}` : ""}`, before: use(before, b.metric, b.region), after: use(after, b.metric, b.region) });
  }
  return (
    <Section title="Before and after">
      <Table
        name="Before and after"
        rows={rows}
        keyOf={(r) => r.name}
        empty=""
        height={16}
        columns={[
          { title: "Of the app", text: (r) => r.name, width: 4 },
          { title: "Before", text: (r) => r.before, number: true, width: 2 },
          { title: "After", text: (r) => r.after, number: true, width: 2 },
        ]}
      />
    </Section>
  );
}
