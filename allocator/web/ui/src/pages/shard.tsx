// One shard: where it is and why, what it went through, and where else it could be.
import { useState } from "preact/hooks";
import { admin } from "../api";
import { useAnswer, useSlow } from "../ask";
import { MoveKind, SecondaryProgress, type Candidate, type ExplainResponse } from "../gen/shardmanager/v1/admin_pb";
import { Role } from "../gen/shardmanager/v1/types_pb";
import { events, moves } from "../live";
import { AppLink, Choice, Facts, Pill, Section, ServerLink, Steps, Waiting } from "../parts/bits";
import { EventsTable } from "../parts/events";
import { MovesTable } from "../parts/moves";
import { Policies } from "../parts/policies";
import { Table } from "../parts/table";
import { count, duration, reasonWord, word } from "../words";

// An explanation costs the leader as much as a plan, so it is asked for again at most so often, and only when something happened to the shard.
const againAfter_ms = 2_000;

export function Shard({ app, shard }: { app: string; shard: string }) {
  const [replica, setReplica] = useState("");
  const told = events.value.filter((e) => e.body.case === "decision" && e.body.value.app === app && e.body.value.shard === shard).length;
  const moving = moves.value?.open.find((m) => m.app === app && m.shard === shard);
  const changes = useSlow(100 * told + (moving?.step ?? 0), againAfter_ms);
  const { value, error } = useAnswer((signal) => admin.explain({ app, shard, replica }, { signal }), [app, shard, replica, changes]);
  if (!value) return error ? <Pill tone="bad">{error}</Pill> : <Waiting what="Asking the leader to explain." />;
  return (
    <>
      {error && <Pill tone="warn">{error}</Pill>}
      <Standing of={value} />
      <Why of={value} />
      <Section title="History: decisions" aside={<span class="quiet">with the terms they made</span>}>
        <History of={value} />
      </Section>
      <Section title="History: moves">
        <MovesTable name="Finished moves" of={value.finished} height={8} empty="It has not moved under this leader." />
      </Section>
      <Section title="Why not there" aside={<Choice label="Replica " value={replica} onChange={setReplica} options={[["", "the one decided next"], ...value.replicas.map((r): [string, string] => [r.server, r.server])]} />}>
        <Candidates of={value.candidates} />
      </Section>
      <Section title="What holds for it">
        <Policies app={app} shard={shard} />
      </Section>
    </>
  );
}

function Standing({ of }: { of: ExplainResponse }) {
  return (
    <>
      {of.quarantine && <p class="banner bad">In quarantine: {of.quarantine}</p>}
      {of.waitsFor && (
        <p class="banner warn" role="status">
          It waits for {of.waitsFor}
        </p>
      )}
      <Facts
        of={[
          ["App", <AppLink app={of.app} />],
          ["Primary", of.primary ? <ServerLink id={of.primary} /> : <Pill tone={of.unplaced ? "bad" : "quiet"}>nobody</Pill>],
          ["Acknowledged", of.serving ? "yes" : "not to this leader"],
          ["Term of the primary", count(of.primaryTerm)],
          ["Highest term", count(of.term)],
          ["Last decision", count(of.move)],
          ["Replicas missing", count(of.replicasMissing)],
          ["Replicas wanted", of.replicasWhy || "as the spec says"],
        ]}
      />
      {of.open && (
        <p>
          A move is open: {reasonWord(of.open.reason)} from {of.open.from || "nobody"} to {of.open.to || "nobody"}, <Steps move={of.open} />, for {duration(of.open.ageMs)}. {of.open.detail}
        </p>
      )}
    </>
  );
}

function Why({ of }: { of: ExplainResponse }) {
  const status = new Map(of.replicas.map((r) => [r.server, r]));
  return (
    <Section title="Why here">
      {of.notes.map((note) => (
        <p key={note}>{note}</p>
      ))}
      <ul class="plain">
        {of.places.map((p, i) => {
          const replica = status.get(p.server);
          return (
            <li key={i}>
              <b>
                {p.server ? <a href={`/ui/servers/${encodeURIComponent(p.server)}`}>{p.server}</a> : "missing"}
              </b>{" "}
              <span class="quiet">
                {word(Role, p.role)}
                {replica && replica.progress !== SecondaryProgress.UNSPECIFIED ? `, ${word(SecondaryProgress, replica.progress)}` : ""}
              </span>{" "}
              {p.verdict} {replica?.down && <Pill tone="warn">counts as down: {replica.down}</Pill>}
            </li>
          );
        })}
      </ul>
      {of.proposals.map((p, i) => (
        <p key={i}>
          Placement would {word(MoveKind, p.kind)} {p.from && `from ${p.from} `}
          {p.to && `to ${p.to} `}({reasonWord(p.reason)}): {p.why} {p.binds && <Pill tone="warn">forbidden by {p.binds}</Pill>}
        </p>
      ))}
      {of.proposals.length === 0 && <p class="quiet">Placement would leave it where it is.</p>}
    </Section>
  );
}

// Decisions with their terms, the newest first.
function History({ of }: { of: ExplainResponse }) {
  const owners = of.decisions.flatMap((e) => (e.body.case === "decision" && e.body.value.term > 0n ? [e.body.value] : [])).reverse();
  return (
    <>
      <Table
        name="Terms and owners"
        rows={owners}
        keyOf={(d) => `${d.term}/${d.move}/${d.what}/${d.server}`}
        empty="This leader remembers no decision about it."
        height={8}
        columns={[
          { title: "Term", text: (d) => count(d.term), number: true, width: 1 },
          { title: "Decision", text: (d) => count(d.move), number: true, width: 1 },
          { title: "What", text: (d) => d.what, width: 2 },
          { title: "Server", text: (d) => d.server, cell: (d) => <ServerLink id={d.server} />, width: 3 },
          { title: "Why", text: (d) => d.why, width: 8 },
        ]}
      />
      <details>
        <summary>All that was decided, by time</summary>
        <EventsTable of={of.decisions} height={8} />
      </details>
    </>
  );
}

function Candidates({ of }: { of: Candidate[] }) {
  const [search, setSearch] = useState("");
  return (
    <Table
      name="Candidates"
      rows={of}
      keyOf={(c) => c.server}
      empty="The app has no servers."
      height={10}
      search={search}
      onSearch={setSearch}
      columns={[
        { title: "Rank", text: (c) => (c.rank === 0 ? "excluded" : count(c.rank)), order: (c) => c.rank || Number.MAX_SAFE_INTEGER, number: true, width: 2 },
        { title: "Server", text: (c) => c.server, cell: (c) => <ServerLink id={c.server} />, order: (c) => c.server, width: 4 },
        { title: "Holds", text: (c) => (c.here ? "this replica" : c.holds ? word(Role, c.holds) : ""), width: 2 },
        { title: "Use", text: (c) => `${count(c.utilisationPercent)} %`, order: (c) => c.utilisationPercent, number: true, width: 2 },
        { title: "Excluded by", text: (c) => c.binds, cell: (c) => (c.binds ? <Pill tone="warn">{c.binds}</Pill> : ""), width: 3 },
        { title: "Why", text: (c) => [c.why, ...c.costs.map((g) => `${g.goal}: ${g.text}`)].filter(Boolean).join("; "), width: 9 },
      ]}
    />
  );
}
