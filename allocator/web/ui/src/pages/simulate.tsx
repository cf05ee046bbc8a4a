// What placement would do with an app after changes. The leader works on a copy; nothing is executed.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { useRef, useState } from "preact/hooks";
import { admin, troubleOf } from "../api";
import type { SimulatedChangesSchema, SimulateResponse } from "../gen/shardmanager/v1/admin_pb";
import { apps, servers } from "../live";
import { Choice, Pill, Waiting } from "../parts/bits";
import { Outcome } from "../parts/outcome";
import { keep, place } from "../router";
import { regionOf, zoneOf } from "../words";

type Kind = "drain" | "lose server" | "lose zone" | "lose region" | "add servers" | "load factor";

interface Change {
  kind: Kind;
  // Of whom: a server, "region / zone", a region or a metric.
  of: string;
  // Servers that join, or a factor.
  amount: number;
}

const kinds: Record<Kind, { of: string; amount: string; says: (c: Change) => string }> = {
  drain: { of: "Server", amount: "", says: (c) => `drain ${c.of}` },
  "lose server": { of: "Server", amount: "", says: (c) => `lose ${c.of}` },
  "lose zone": { of: "Zone", amount: "", says: (c) => `lose zone ${c.of}` },
  "lose region": { of: "Region", amount: "", says: (c) => `lose region ${c.of}` },
  "add servers": { of: "Zone", amount: "How many", says: (c) => `add ${c.amount} servers in ${c.of}` },
  "load factor": { of: "Metric", amount: "Factor", says: (c) => `load ${c.of} × ${c.amount}` },
};

const separator = " / ";

// What one can choose from, for a kind of change of an app.
function offered(kind: Kind, app: string): string[] {
  const own = servers.value?.filter((s) => s.server?.app === app) ?? [];
  const spec = apps.value?.find((a) => a.name === app);
  const all: Record<string, string[]> = {
    Server: own.map((s) => s.server?.id ?? ""),
    Zone: own.map((s) => regionOf(s.server?.locality) + separator + zoneOf(s.server?.locality)),
    Region: own.map((s) => regionOf(s.server?.locality)),
    Metric: ["shards", ...Object.keys(spec?.placement?.defaultLoad ?? {}), ...own.flatMap((s) => Object.keys(s.server?.capacity ?? {}))],
  };
  return [...new Set(all[kinds[kind].of])].sort();
}

function localityOf(text: string): { region: string; zone: string } {
  const [region = "", zone = ""] = text.split(separator);
  return { region: region === regionOf(undefined) ? "" : region, zone: zone === zoneOf(undefined) ? "" : zone };
}

function changesOf(list: Change[]): MessageInitShape<typeof SimulatedChangesSchema> {
  const of = (kind: Kind) => list.filter((c) => c.kind === kind);
  return {
    drain: of("drain").map((c) => c.of),
    loseServers: of("lose server").map((c) => c.of),
    loseRegions: of("lose region").map((c) => localityOf(c.of).region),
    loseZones: of("lose zone").map((c) => localityOf(c.of)),
    addServers: of("add servers").map((c) => ({ count: c.amount, locality: localityOf(c.of) })),
    loadFactors: of("load factor").map((c) => ({ metric: c.of, millionths: BigInt(Math.round(c.amount * 1_000_000)) })),
  };
}

export function Simulate() {
  const names = (apps.value ?? []).map((a) => a.name);
  const app = place.value.query.get("app") ?? names[0] ?? "";
  const [changes, setChanges] = useState<Change[]>([]);
  const [result, setResult] = useState<SimulateResponse>();
  const [error, setError] = useState("");
  const running = useRef<AbortController | undefined>(undefined);
  const [asking, setAsking] = useState(false);
  if (!apps.value) return <Waiting what="Asking the leader." />;
  if (names.length === 0) return <p class="empty">There are no apps to simulate.</p>;

  const run = async () => {
    running.current?.abort();
    const stop = (running.current = new AbortController());
    setAsking(true);
    setError("");
    try {
      setResult(await admin.simulate({ app, changes: changesOf(changes) }, { signal: stop.signal }));
    } catch (reason) {
      if (!stop.signal.aborted) setError(troubleOf(reason).text);
    }
    if (running.current === stop) setAsking(false);
  };

  return (
    <>
      <p class="quiet">The leader plans round by round on a copy of its state until nothing more is to be done. Nothing is executed. Without changes it says what is to be done now.</p>
      <div class="tools">
        <Choice
          label="App "
          value={app}
          options={names.map((n): [string, string] => [n, n])}
          onChange={(name) => {
            keep("app", name);
            setChanges([]);
            setResult(undefined);
          }}
        />
      </div>
      <Editor app={app} onAdd={(change) => setChanges([...changes, change])} />
      <ul class="chips" aria-label="Changes">
        {changes.map((change, i) => (
          <li key={i}>
            {kinds[change.kind].says(change)}{" "}
            <button type="button" aria-label={`Take back: ${kinds[change.kind].says(change)}`} onClick={() => setChanges(changes.filter((_, k) => k !== i))}>
              ×
            </button>
          </li>
        ))}
        {changes.length === 0 && <li class="quiet">no changes</li>}
      </ul>
      <p class="tools">
        <button type="button" class="main" disabled={asking} onClick={() => void run()}>
          {asking ? "Simulating" : "Simulate"}
        </button>
        <span role="status">{error && <Pill tone="bad">{error}</Pill>}</span>
      </p>
      {result && <Outcome of={result} />}
    </>
  );
}

function Editor({ app, onAdd }: { app: string; onAdd: (change: Change) => void }) {
  const [kind, setKind] = useState<Kind>("drain");
  const [of, setOf] = useState("");
  const [amount, setAmount] = useState("2");
  const choices = offered(kind, app);
  const number = kinds[kind].amount ? Number(amount) : 1;
  const whole = kind !== "add servers" || Number.isInteger(number);
  const ready = choices.includes(of) && number > 0 && whole;
  return (
    <form
      class="tools"
      onSubmit={(event) => {
        event.preventDefault();
        if (ready) onAdd({ kind, of, amount: number });
        setOf("");
      }}
    >
      <Choice
        label="Change "
        value={kind}
        options={Object.keys(kinds).map((k): [string, string] => [k, k])}
        onChange={(k) => {
          setKind(k as Kind);
          setOf("");
        }}
      />
      <label>
        {kinds[kind].of} <input list="offered" value={of} onInput={(e) => setOf(e.currentTarget.value)} />
      </label>
      <datalist id="offered">
        {choices.map((choice) => (
          <option key={choice} value={choice} />
        ))}
      </datalist>
      {kinds[kind].amount && (
        <label>
          {kinds[kind].amount} <input type="number" min="0" step={kind === "add servers" ? 1 : "any"} value={amount} onInput={(e) => setAmount(e.currentTarget.value)} />
        </label>
      )}
      <button type="submit" disabled={!ready}>
        Add the change
      </button>
    </form>
  );
}
