// One app: what it wants, where it is, and every shard of it.
import { toJsonString } from "@bufbuild/protobuf";
import { admin } from "../api";
import { useAnswer, useSlow } from "../ask";
import { AppSpecSchema, type AppSpec } from "../gen/shardmanager/v1/admin_pb";
import { FaultDomain } from "../gen/shardmanager/v1/types_pb";
import { apps, events, moves, servers } from "../live";
import { Facts, Pill, Section, Waiting } from "../parts/bits";
import { MovesTable } from "../parts/moves";
import { Policies } from "../parts/policies";
import { ServersTable } from "../parts/servers";
import { ShardsTable } from "../parts/shards";
import { keep, place, to } from "../router";
import { shardMap } from "../shardmap";
import { count, keySpaceWord, replicationWord, versionWord, word } from "../words";

// The whole map is asked for again at most so often.
const mapEvery_ms = 3_000;

export function App({ name }: { name: string }) {
  const spec = apps.value?.find((a) => a.name === name);
  const changes = useSlow(events.value.length + (moves.value?.open.length ?? 0), mapEvery_ms);
  const map = useAnswer((signal) => shardMap(name, signal), [name, changes]);
  const quarantined = useAnswer((signal) => admin.listQuarantined({ app: name }, { signal }), [name, changes]);
  if (apps.value && !spec) {
    return (
      <p>
        There is no app {name}. <a href={to("apps")}>All apps</a>
      </p>
    );
  }
  const own = servers.value?.filter((s) => s.server?.app === name) ?? [];
  const open = moves.value?.open.filter((m) => m.app === name) ?? [];
  const rows = map.value?.rows ?? [];
  const search = place.value.query.get("search") ?? "";
  return (
    <>
      {spec && <Wants spec={spec} version={versionWord(map.value?.version)} />}
      {quarantined.value?.shards.map((q) => (
        <p key={q.shard} class="banner bad">
          Shard <a href={to("apps", name, "shards", q.shard)}>{q.shard}</a> is in quarantine: {q.reason}
        </p>
      ))}
      <Section title="Shards" aside={<span class="quiet">{map.value ? `${count(rows.filter((r) => !r.primary && r.secondaries.length === 0).length)} with nobody` : ""}</span>}>
        {map.error && <Pill tone="warn">{map.error}</Pill>}
        {map.value ? <ShardsTable app={name} of={rows} height={14} search={search} onSearch={(text) => keep("search", text)} empty="The app has no shards." /> : <Waiting what="Asking for the shard map." />}
      </Section>
      <Section title="Open moves" aside={<span class="quiet">{count(open.length)}</span>}>
        <MovesTable name="Open moves" of={open} height={6} empty="Nothing moves." />
      </Section>
      <Section title="Servers" aside={<span class="quiet">{count(own.length)}</span>}>
        <ServersTable of={own} height={10} />
      </Section>
      <Section title="What holds for placement">
        <Policies app={name} shard="" />
      </Section>
      {spec && (
        <details>
          <summary>Spec as the leader has it</summary>
          <pre tabIndex={0}>{toJsonString(AppSpecSchema, spec, { prettySpaces: 2 })}</pre>
        </details>
      )}
    </>
  );
}

function Wants({ spec, version }: { spec: AppSpec; version: string }) {
  const exclusive = spec.exclusive ?? true;
  const regions = Object.entries(spec.regionReplicas).map(([region, n]) => `${region}: ${n}`);
  const labels = Object.entries(spec.labels).map(([key, value]) => `${key}=${value}`);
  return (
    <Facts
      of={[
        ["Key space", keySpaceWord(spec.keySpace)],
        ["Replication", replicationWord(spec.replication)],
        ["Replicas", spec.replicas === 0 ? "default" : count(spec.replicas)],
        ["Spread over", word(FaultDomain, spec.placement?.spread || FaultDomain.HOST)],
        ["One primary at a time", exclusive ? (spec.acceptOverlap ? "yes, overlap accepted" : "yes") : "no"],
        ["Preferred regions", spec.placement?.preferredRegions.join(", ") || "none"],
        ["Replicas by region", regions.join(", ") || "any"],
        ["Labels", labels.join(", ") || "none"],
        ["Map version", version],
        ["Spec version", count(spec.resourceVersion)],
      ]}
    />
  );
}
