// Is all well, what moves, and where. It asks for nothing whose size grows with the number of shards.
import { useEffect } from "preact/hooks";
import { apps, events, moves, servers, status } from "../live";
import { count, duration, plural, reasonWord, regionOf, replicationWord, serverNotes, serverTone, shardsOf } from "../words";
import { AppLink, Pill, Section, ServerLink, StatePill, Waiting, type Tone } from "../parts/bits";
import { MovesTable } from "../parts/moves";
import { EventsTable } from "../parts/events";
import { Table } from "../parts/table";
import { MoveStep, type AppSpec, type GetStatusResponse, type ListMovesResponse, type ServerStatus } from "../gen/shardmanager/v1/admin_pb";
import { to } from "../router";

// A lock that is older than this was not proven in time; proofs come every second.
const lockOld_ms = 3_000n;
// A loop later than this is slow, and a move older than this is slow.
const loopLate_ms = 1_000n;
const moveOld_ms = 5n * 60_000n;

interface Check {
  name: string;
  tone: Tone;
  text: string;
}

// What the leader sees of what is promised. It is the state of now; whether promises were kept is for the checkers of tests and simulation.
function checks(s: GetStatusResponse, m: ListMovesResponse | undefined): Check[] {
  const oldest = m?.open.reduce((most, move) => (move.ageMs > most ? move.ageMs : most), 0n) ?? 0n;
  // Between two owners for a moment, while requests are held and forwarded.
  const handedOver = m?.open.filter((move) => move.from && (move.step === MoveStep.COMMITTING || move.step === MoveStep.ADD)).length ?? 0;
  return [
    {
      name: "A leader leads",
      ...(!s.leading ? { tone: "bad", text: "its lock is not proven" } : s.lockAgeMs > lockOld_ms ? { tone: "warn", text: `the lock was last proven ${duration(s.lockAgeMs)} ago` } : { tone: "good", text: `${s.leader}, epoch ${s.epoch?.index}` }),
    },
    { name: "The store answers", ...(s.storeError ? { tone: "bad", text: s.storeError } : { tone: "good", text: "yes" }) },
    {
      name: "Every shard has an owner",
      ...(s.unplaced > handedOver ? { tone: "bad", text: `${plural(s.unplaced, "shard")} without one` } : s.unplaced > 0 ? { tone: "good", text: `${count(s.unplaced)} being handed over` } : { tone: "good", text: "yes" }),
    },
    { name: "Replicas as many as wanted", ...(s.lacking > 0 ? { tone: "warn", text: `${plural(s.lacking, "shard")} with fewer` } : { tone: "good", text: "yes" }) },
    {
      name: "Every server is heard of",
      ...(s.suspected > 0 ? { tone: "bad", text: `${plural(s.suspected, "server")} silent, degraded or being fenced` } : s.attached < s.servers ? { tone: "warn", text: `${count(s.attached)} of ${count(s.servers)} attached` } : { tone: "good", text: `${count(s.attached)} attached` }),
    },
    { name: "Nothing is on hold", ...(s.hold ? { tone: "bad", text: s.hold } : { tone: "good", text: "no loss is held back" }) },
    { name: "No shard in quarantine", ...(s.quarantined > 0 ? { tone: "bad", text: plural(s.quarantined, "shard") } : { tone: "good", text: "none" }) },
    { name: "No move sticks", ...(oldest > moveOld_ms ? { tone: "warn", text: `the oldest is open for ${duration(oldest)}` } : { tone: "good", text: s.openMoves > 0 ? `the oldest is open for ${duration(oldest)}` : "none is open" }) },
    { name: "The leader keeps up", ...(s.loopLateMs > loopLate_ms ? { tone: "warn", text: `its loop was up to ${duration(s.loopLateMs)} late` } : { tone: "good", text: `at most ${duration(s.loopLateMs)} late` }) },
  ];
}

export function Overview() {
  const s = status.value;
  const ready = servers.value !== undefined;
  useEffect(() => {
    if (ready) performance.mark("overview"); // for e2e: when the page could be used
  }, [ready]);
  if (!s) return <Waiting what="Asking the allocator." />;
  if (!s.epoch) return <Waiting what="This allocator does not lead." />;
  const all = checks(s, moves.value);
  const wrong = all.filter((c) => c.tone !== "good");
  const worst: Tone = wrong.some((c) => c.tone === "bad") ? "bad" : wrong.length > 0 ? "warn" : "good";
  return (
    <>
      <p class={`verdict ${worst}`} role="status" data-ready={ready ? "yes" : "no"}>
        <Pill tone={worst}>{worst === "good" ? "All is well" : worst === "warn" ? "Something wants a look" : "Something is wrong"}</Pill>
        {wrong.length > 0 && <span>{wrong.map((c) => `${c.name}: ${c.text}`).join(" · ")}</span>}
      </p>
      <Tiles s={s} />
      <div class="columns">
        <Section title="Promises, as they stand now">
          <ul class="checks">
            {all.map((c) => (
              <li key={c.name}>
                <Pill tone={c.tone}>{c.name}</Pill>
                <span>{c.text}</span>
              </li>
            ))}
          </ul>
        </Section>
        <Section title="Regions" aside={<a href={to("map")}>Map</a>}>
          <Regions of={servers.value ?? []} />
        </Section>
      </div>
      <Moving of={moves.value} />
      <Section title="Apps" aside={<a href={to("apps")}>All</a>}>
        <AppsTable specs={apps.value ?? []} list={servers.value ?? []} height={8} />
      </Section>
      <Unusual of={servers.value ?? []} />
      <Section title="Latest events" aside={<a href={to("events")}>All</a>}>
        <EventsTable of={events.value.slice(-100)} height={10} />
      </Section>
    </>
  );
}

function Tiles({ s }: { s: GetStatusResponse }) {
  const list = servers.value ?? [];
  const primaries = sum(list, (v) => v.shards);
  const tiles: [name: string, value: string, href: string][] = [
    ["Apps", count(apps.value?.length ?? 0), to("apps")],
    ["Servers", `${count(s.attached)} / ${count(s.servers)}`, to("servers")],
    ["Primaries", count(primaries), to("map")],
    ["Secondaries", count(sum(list, (v) => v.secondaries)), to("map")],
    ["Open moves", count(s.openMoves), to("moves")],
    ["Moves finished", count(moves.value?.finishedCount ?? 0n), to("moves")],
    ["Without an owner", count(s.unplaced), to("apps")],
  ];
  return (
    <ul class="tiles">
      {tiles.map(([name, value, href]) => (
        <li key={name}>
          <a href={href}>
            <b>{value}</b>
            {name}
          </a>
        </li>
      ))}
    </ul>
  );
}

function Moving({ of }: { of: ListMovesResponse | undefined }) {
  const open = of?.open ?? [];
  const by = new Map<string, number>();
  for (const move of open) by.set(reasonWord(move.reason), (by.get(reasonWord(move.reason)) ?? 0) + 1);
  const text = [...by].map(([reason, n]) => `${count(n)} ${reason}`).join(", ");
  return (
    <Section title="What is moving" aside={<span class="quiet">{text || "nothing"}</span>}>
      <MovesTable name="Open moves" of={open} height={8} empty="Nothing moves." />
    </Section>
  );
}

function Regions({ of }: { of: ServerStatus[] }) {
  const regions = Map.groupBy(of, (s) => regionOf(s.server?.locality));
  const rows = [...regions].map(([name, list]) => ({ name, list })).sort((a, b) => (a.name < b.name ? -1 : 1));
  return (
    <Table
      name="Regions"
      rows={rows}
      keyOf={(r) => r.name}
      hrefOf={(r) => `${to("map")}?region=${encodeURIComponent(r.name)}`}
      empty="There are no servers."
      height={8}
      columns={[
        { title: "Region", text: (r) => r.name, order: (r) => r.name, width: 3 },
        { title: "Zones", text: (r) => count(new Set(r.list.map((s) => s.server?.locality?.zone)).size), number: true, width: 2 },
        { title: "Servers", text: (r) => count(r.list.length), order: (r) => r.list.length, number: true, width: 2 },
        { title: "Not in order", text: (r) => count(r.list.filter((s) => serverTone(s) !== "good").length), order: (r) => r.list.filter((s) => serverTone(s) !== "good").length, number: true, width: 3 },
        { title: "Primaries", text: (r) => count(sum(r.list, (s) => s.shards)), order: (r) => sum(r.list, (s) => s.shards), number: true, width: 3 },
        { title: "Secondaries", text: (r) => count(sum(r.list, (s) => s.secondaries)), order: (r) => sum(r.list, (s) => s.secondaries), number: true, width: 3 },
      ]}
    />
  );
}

function Unusual({ of }: { of: ServerStatus[] }) {
  const rows = of.filter((s) => serverTone(s) !== "good");
  if (rows.length === 0) return null;
  return (
    <Section title="Servers not in order">
      <Table
        name="Servers not in order"
        rows={rows}
        keyOf={(s) => s.server?.id ?? ""}
        hrefOf={(s) => to("servers", s.server?.id ?? "")}
        empty=""
        height={8}
        columns={[
          { title: "Server", text: (s) => s.server?.id ?? "", cell: (s) => <ServerLink id={s.server?.id ?? ""} />, order: (s) => s.server?.id ?? "", width: 3 },
          { title: "State", text: (s) => serverTone(s), cell: (s) => <StatePill of={s} />, width: 3 },
          { title: "Why", text: serverNotes, width: 8 },
        ]}
      />
    </Section>
  );
}

export function AppsTable({ specs, list, height, search, onSearch }: { specs: AppSpec[]; list: ServerStatus[]; height: number; search?: string; onSearch?: (text: string) => void }) {
  const by = Map.groupBy(list, (s) => s.server?.app ?? "");
  const of = (spec: AppSpec) => by.get(spec.name) ?? [];
  const primaries = (spec: AppSpec) => sum(of(spec), (s) => s.shards);
  const secondaries = (spec: AppSpec) => sum(of(spec), (s) => s.secondaries);
  return (
    <Table
      name="Apps"
      rows={specs}
      keyOf={(a) => a.name}
      hrefOf={(a) => to("apps", a.name)}
      empty="There are no apps: create one with `shardmanager app create`."
      height={height}
      {...(onSearch ? { search: search ?? "", onSearch } : {})}
      columns={[
        { title: "App", text: (a) => a.name, cell: (a) => <AppLink app={a.name} />, order: (a) => a.name, width: 4 },
        { title: "Replication", text: (a) => replicationWord(a.replication), order: (a) => a.replication, width: 4 },
        { title: "Shards", text: (a) => shardsText(a), order: (a) => shardsOf(a) ?? 0, number: true, width: 2 },
        { title: "Servers", text: (a) => count(of(a).length), order: (a) => of(a).length, number: true, width: 2 },
        { title: "Primaries", text: (a) => count(primaries(a)), order: primaries, number: true, width: 2 },
        { title: "Secondaries", text: (a) => count(secondaries(a)), order: secondaries, number: true, width: 2 },
        { title: "Moves", text: (a) => count(sum(of(a), (s) => s.moves)), order: (a) => sum(of(a), (s) => s.moves), number: true, width: 2 },
      ]}
    />
  );
}

function shardsText(app: AppSpec): string {
  const n = shardsOf(app);
  return n === undefined ? "named" : count(n);
}

const sum = (list: ServerStatus[], of: (s: ServerStatus) => number) => list.reduce((total, s) => total + of(s), 0);
