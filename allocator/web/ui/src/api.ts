// What the page asks: AdminService at its own origin, and nobody else.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { AdminService } from "./gen/shardmanager/v1/admin_pb";
import { ErrorDetailSchema, ErrorReason } from "./gen/shardmanager/v1/types_pb";

export const admin = createClient(AdminService, createConnectTransport({ baseUrl: window.location.origin, useBinaryFormat: true }));

// A request that was refused or got no answer.
export interface Trouble {
  text: string;
  // This allocator does not lead; where the leader's own page is, as far as this one knows.
  standby: boolean;
  leader: string;
}

export function troubleOf(reason: unknown): Trouble {
  const error = ConnectError.from(reason);
  const detail = error.findDetails(ErrorDetailSchema)[0];
  if (!detail) {
    const text = error.code === Code.Unknown || error.code === Code.Unavailable ? "the allocator does not answer" : error.rawMessage;
    return { text, standby: false, leader: "" };
  }
  return {
    text: detail.subject ? `${detail.subject}: ${detail.expected}` : detail.expected,
    standby: detail.reason === ErrorReason.NOT_LEADER,
    leader: detail.hint,
  };
}
