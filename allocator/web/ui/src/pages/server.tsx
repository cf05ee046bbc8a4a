// One server: how it stands, what it has and uses, what it holds, and what happened to it.
import { useState } from "preact/hooks";
import { admin, troubleOf } from "../api";
import { useAnswer, useSlow } from "../ask";
import { say } from "../events";
import { GossipStatus, type CheckSafeToStopResponse, type ServerStatus } from "../gen/shardmanager/v1/admin_pb";
import type { Resources } from "../gen/shardmanager/v1/types_pb";
import { events, moves, servers } from "../live";
import { AppLink, Facts, Pill, Section, StatePill, Waiting } from "../parts/bits";
import { EventsTable } from "../parts/events";
import { MovesTable } from "../parts/moves";
import { ShardsTable } from "../parts/shards";
import { Table } from "../parts/table";
import { keep, place, to } from "../router";
import { shardMap } from "../shardmap";
import { amount, count, duration, metricWord, placeWord, serverNotes, word } from "../words";

const mapEvery_ms = 3_000;

export function Server({ id }: { id: string }) {
  const of = servers.value?.find((s) => s.server?.id === id);
  const app = of?.server?.app ?? id.slice(id.lastIndexOf(".") + 1);
  const changes = useSlow(events.value.length, mapEvery_ms);
  const map = useAnswer((signal) => shardMap(app, signal), [app, changes]);
  const held = map.value?.rows.filter((r) => r.primary === id || r.secondaries.includes(id)) ?? [];
  const open = moves.value?.open.filter((m) => m.from === id || m.to === id) ?? [];
  const told = events.value.filter((e) => say(e).server === id);
  return (
    <>
      {servers.value && !of && (
        <p class="banner warn" role="status">
          The leader knows no server {id} now. <a href={to("servers")}>All servers</a>
        </p>
      )}
      {of && <Standing of={of} />}
      {of && <Resourced of={of} />}
      <Section title="Shards" aside={<span class="quiet">{count(held.length)}</span>}>
        {map.value ? <ShardsTable app={app} of={held} height={12} search={place.value.query.get("search") ?? ""} onSearch={(text) => keep("search", text)} empty="It holds no shard." /> : <Waiting what="Asking for the shard map." />}
      </Section>
      <Section title="Moves from and to it" aside={<span class="quiet">{count(open.length)}</span>}>
        <MovesTable name="Open moves" of={open} height={8} empty="Nothing moves from or to it." />
      </Section>
      <Section title="What happened to it">
        <EventsTable of={told} height={10} />
      </Section>
    </>
  );
}

function Standing({ of }: { of: ServerStatus }) {
  const server = of.server;
  const labels = Object.entries(server?.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return (
    <>
      <Facts
        of={[
          ["State", <StatePill of={of} />],
          ["Why", serverNotes(of) || "in order"],
          ["App", <AppLink app={server?.app ?? ""} />],
          ["Place", placeWord(server?.locality) || "unknown"],
          ["Primaries", count(of.shards)],
          ["Secondaries", count(of.secondaries)],
          ["Last renewal", of.lastRenewalMs < 0n ? "none under this leader" : `${duration(of.lastRenewalMs)} ago`],
          ["By gossip", of.gossip === GossipStatus.UNSPECIFIED ? "not known" : word(GossipStatus, of.gossip)],
          ["Data address", server?.dataAddress || "none"],
          ["Agent", `${server?.agent} at ${server?.agentAddress || "no address"}, version ${of.agentVersion || "unknown"}`],
          ["Version of the app", server?.version || "none"],
          ["Incarnation", server?.incarnation ? server.incarnation.toString(16).padStart(16, "0") : "none"],
          ["Labels", labels.join(", ") || "none"],
        ]}
      />
      <SafeToStop id={server?.id ?? ""} />
    </>
  );
}

// Asks whether the server may be stopped; it stops nothing.
function SafeToStop({ id }: { id: string }) {
  const [answer, setAnswer] = useState<CheckSafeToStopResponse | string>();
  const ask = () =>
    admin
      .checkSafeToStop({ server: id })
      .then(setAnswer)
      .catch((error: unknown) => setAnswer(troubleOf(error).text));
  return (
    <p class="tools">
      <button type="button" onClick={() => void ask()}>
        May it be stopped now?
      </button>
      <span role="status">{typeof answer === "string" ? <Pill tone="warn">{answer}</Pill> : answer && <Pill tone={answer.safe ? "good" : "bad"}>{answer.safe ? "yes, without harm" : `no: ${answer.detail}`}</Pill>}</span>
    </p>
  );
}

function Resourced({ of }: { of: ServerStatus }) {
  const capacity = of.server?.capacity ?? {};
  const rows = [
    ...measured("host", of.usage?.host),
    ...measured("control group", of.usage?.cgroup),
    ...Object.entries(capacity).map(([metric, value]) => ({ of: "capacity", metric, used: "", limit: amount(metric, value), part: undefined })),
  ];
  if (rows.length === 0) return null;
  return (
    <Section title="Capacity and use" aside={<span class="quiet">{of.usage ? `measured ${duration(of.usageAgeMs)} ago` : "nothing measured"}</span>}>
      <Table
        name="Capacity and use"
        rows={rows}
        keyOf={(r) => `${r.of} ${r.metric}`}
        empty=""
        height={9}
        columns={[
          { title: "Of", text: (r) => r.of, width: 2 },
          { title: "Metric", text: (r) => metricWord(r.metric), width: 3 },
          { title: "Used", text: (r) => r.used, number: true, width: 2 },
          { title: "There is", text: (r) => r.limit, number: true, width: 2 },
          { title: "Part", text: (r) => (r.part === undefined ? "" : `${Math.round(100 * r.part)} %`), number: true, width: 1 },
        ]}
      />
    </Section>
  );
}

function measured(of: string, resources: Resources | undefined) {
  const metrics = Object.keys({ ...resources?.used, ...resources?.limit }).sort();
  return metrics.map((metric) => {
    const used = resources?.used[metric];
    const limit = resources?.limit[metric];
    return {
      of,
      metric,
      used: used === undefined ? "" : amount(metric, used),
      limit: limit === undefined ? "" : amount(metric, limit),
      part: used !== undefined && limit ? Number(used) / Number(limit) : undefined,
    };
  });
}
