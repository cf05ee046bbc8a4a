import { servers } from "../live";
import { Waiting } from "../parts/bits";
import { ServersTable } from "../parts/servers";
import { keep, place } from "../router";

export function Servers() {
  if (!servers.value) return <Waiting what="Asking the leader." />;
  return <ServersTable of={servers.value} height={24} search={place.value.query.get("search") ?? ""} onSearch={(text) => keep("search", text)} />;
}
