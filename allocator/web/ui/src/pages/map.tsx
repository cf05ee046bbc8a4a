// Regions, their zones, the servers in them and, of one of them, the shards: as a heat map by any metric.
import { useMemo } from "preact/hooks";
import { useAnswer } from "../ask";
import type { ServerStatus } from "../gen/shardmanager/v1/admin_pb";
import { known, loadMetrics, type Loads, type Metric } from "../heatmetrics";
import { apps, servers } from "../live";
import { Choice, Pill, Section, Waiting } from "../parts/bits";
import { Heat, Legend, type Cell } from "../parts/heat";
import { go, keep, place, to } from "../router";
import { shardLoads, shardMap, type ShardMap } from "../shardmap";
import { amount, count, plural, regionOf, serverNotes, serverTone, stateWord, zoneOf } from "../words";

export function MapPage() {
  const query = place.value.query;
  const app = query.get("app") ?? "";
  const region = query.get("region") ?? "";
  const chosen = servers.value?.find((s) => s.server?.id === query.get("server"));
  const shown = chosen?.server?.app ?? app;
  const map = useAnswer(async (signal) => (shown ? await shardMap(shown, signal) : undefined), [shown]);
  const wanted = app && query.get("loads") ? app : "";
  const loads = useAnswer(async (signal) => (wanted ? await shardLoads(wanted, signal) : undefined), [wanted]);
  const metrics = useMemo(() => (map.value && loads.value ? [...known, ...loadMetrics(map.value, loads.value)] : known), [map.value, loads.value]);
  if (!servers.value) return <Waiting what="Asking the leader." />;
  const metric = metrics.find((m) => m.id === query.get("metric")) ?? metrics[0]!;
  const list = servers.value.filter((s) => (!app || s.server?.app === app) && (!region || regionOf(s.server?.locality) === region));
  const most = metric.full ?? Math.max(0, ...list.map((s) => metric.of(s) ?? 0));
  const regions = [...new Set(servers.value.map((s) => regionOf(s.server?.locality)))].sort();
  return (
    <>
      <div class="tools">
        <Choice label="App " value={app} onChange={(v) => keep("app", v)} options={[["", "all"], ...(apps.value ?? []).map((a): [string, string] => [a.name, a.name])]} />
        <Choice label="Region " value={region} onChange={(v) => keep("region", v)} options={[["", "all"], ...regions.map((r): [string, string] => [r, r])]} />
        <Choice label="Metric " value={metric.id} onChange={(v) => keep("metric", v)} options={metrics.map((m): [string, string] => [m.id, m.title])} />
        <button type="button" disabled={!app || loads.value !== undefined} title={app ? "" : "Choose an app first"} onClick={() => keep("loads", "yes")}>
          {wanted && loads.asking ? "Asking for loads" : "Ask for the loads of its shards"}
        </button>
        {loads.error && <Pill tone="warn">{loads.error}</Pill>}
      </div>
      <Legend title={metric.title} most={metric.text(most)} />
      <div class={chosen ? "split" : ""}>
        <Regions of={list} metric={metric} most={most} chosen={chosen?.server?.id ?? ""} />
        {chosen && <Held of={chosen} map={map.value} loads={shown === app ? loads.value : undefined} metric={metric} />}
      </div>
    </>
  );
}

function Regions({ of, metric, most, chosen }: { of: ServerStatus[]; metric: Metric; most: number; chosen: string }) {
  const regions = [...Map.groupBy(of, (s) => regionOf(s.server?.locality))].sort(byName);
  if (regions.length === 0) return <Waiting what="There are no servers." />;
  return (
    <div class="regions">
      {regions.map(([region, inRegion]) => (
        <Section key={region} title={region} aside={<span class="quiet">{plural(inRegion.length, "server")}</span>}>
          <div class="zones">
            {[...Map.groupBy(inRegion, (s) => zoneOf(s.server?.locality))].sort(byName).map(([zone, inZone]) => (
              <div key={zone} class="zone">
                <h3>
                  {zone} <span class="quiet">{plural(inZone.length, "server")}</span>
                </h3>
                <Heat name={`Servers of ${region}, ${zone}`} cells={inZone.map((s) => cellOf(s, metric))} most={most} chosen={chosen} small={of.length > 200} onChoose={(id) => keep("server", id)} />
              </div>
            ))}
          </div>
        </Section>
      ))}
    </div>
  );
}

function cellOf(s: ServerStatus, metric: Metric): Cell {
  const value = metric.of(s);
  const notes = serverNotes(s);
  return {
    id: s.server?.id ?? "",
    value,
    text: value === undefined ? "?" : metric.text(value),
    note: stateWord(s.state) + (notes ? `, ${notes}` : ""),
    alarm: serverTone(s) !== "good",
  };
}

// The shards of one server, coloured by the load that is chosen, else by role.
function Held({ of, map, loads, metric }: { of: ServerStatus; map: ShardMap | undefined; loads: Loads | undefined; metric: Metric }) {
  const id = of.server?.id ?? "";
  const app = of.server?.app ?? "";
  const load = loads && metric.id.startsWith("load:") ? metric.id.slice("load:".length) : "";
  const cells = (map?.rows ?? []).flatMap((row): Cell[] => {
    if (row.primary !== id && !row.secondaries.includes(id)) return [];
    const role = row.primary === id ? "primary" : "secondary";
    const value = load ? Number(loads?.get(row.id)?.[load] ?? 0n) : role === "primary" ? 3 : 1;
    return [{ id: row.id, value, text: load ? amount(load, value) : role, note: load ? role : `term ${count(row.term)}`, alarm: false }];
  });
  const most = load ? Math.max(0, ...cells.map((c) => c.value ?? 0)) : 4;
  return (
    <aside aria-label={`Shards of ${id}`}>
      <h2>{id}</h2>
      <p>
        {stateWord(of.state)}, {plural(cells.length, "shard")}. <a href={to("servers", id)}>Open the server</a>{" "}
        <button type="button" onClick={() => keep("server", "")}>
          Close
        </button>
      </p>
      <p class="quiet">{load ? `Coloured by ${metric.title.toLowerCase()}.` : "Dark: primary here; light: secondary."}</p>
      {map ? <Heat name={`Shards of ${id}`} cells={cells} most={most} small onChoose={(shard) => go(to("apps", app, "shards", shard))} /> : <Waiting what="Asking for the shard map." />}
    </aside>
  );
}

const byName = (a: [string, unknown], b: [string, unknown]) => (a[0] < b[0] ? -1 : 1);
