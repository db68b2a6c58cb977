// The form of each request that the back-end serves: payload, fds, and the protocol feature that it belongs to.
import { PollmodeError } from "../errors.ts";
import {
  MESSAGE_FDS_MAX,
  type Message,
  ProtocolFeature,
  REGIONS_BYTES_MAX,
  REGIONS_HEADER_BYTES,
  Request,
  requestName,
  SINGLE_REGION_BYTES,
  VRING_ADDRESS_BYTES,
  VRING_STATE_BYTES,
} from "./protocol.ts";
import { peerFix } from "./socket.ts";

/** The payload of an answer; undefined if the request has none of its own. */
export type Reply = Buffer | undefined;

interface Form {
  payload: number;
  payloadMax?: number;
  fds?: number;
  fdsMax?: number;
  feature?: bigint;
  /** It has an answer of its own, so that REPLY_ACK changes nothing. */
  answers?: true;
}

const forms: Record<number, Form> = {
  [Request.GET_FEATURES]: { payload: 0, answers: true },
  [Request.SET_FEATURES]: { payload: 8 },
  [Request.SET_OWNER]: { payload: 0 },
  [Request.RESET_OWNER]: { payload: 0 },
  [Request.SET_MEM_TABLE]: {
    payload: REGIONS_HEADER_BYTES,
    payloadMax: REGIONS_BYTES_MAX,
    fdsMax: MESSAGE_FDS_MAX,
  },
  [Request.SET_VRING_NUM]: { payload: VRING_STATE_BYTES },
  [Request.SET_VRING_ADDR]: { payload: VRING_ADDRESS_BYTES },
  [Request.SET_VRING_BASE]: { payload: VRING_STATE_BYTES },
  [Request.GET_VRING_BASE]: { payload: VRING_STATE_BYTES, answers: true },
  [Request.SET_VRING_KICK]: { payload: 8, fdsMax: 1 },
  [Request.SET_VRING_CALL]: { payload: 8, fdsMax: 1 },
  [Request.SET_VRING_ERR]: { payload: 8, fdsMax: 1 },
  [Request.GET_PROTOCOL_FEATURES]: { payload: 0, answers: true },
  [Request.SET_PROTOCOL_FEATURES]: { payload: 8 },
  [Request.GET_QUEUE_NUM]: { payload: 0, feature: ProtocolFeature.MQ, answers: true },
  [Request.SET_VRING_ENABLE]: { payload: VRING_STATE_BYTES },
  [Request.SEND_RARP]: { payload: 8, feature: ProtocolFeature.RARP },
  [Request.NET_SET_MTU]: { payload: 8, feature: ProtocolFeature.NET_MTU },
  [Request.RESET_DEVICE]: { payload: 0, feature: ProtocolFeature.RESET_DEVICE },
  [Request.GET_MAX_MEM_SLOTS]: { payload: 0, feature: ProtocolFeature.CONFIGURE_MEM_SLOTS, answers: true },
  [Request.ADD_MEM_REG]: {
    payload: SINGLE_REGION_BYTES,
    fds: 1,
    fdsMax: 1,
    feature: ProtocolFeature.CONFIGURE_MEM_SLOTS,
  },
  // "The back-end MAY accept messages with one file descriptor [and] MUST close it without using it otherwise."
  [Request.REM_MEM_REG]: {
    payload: SINGLE_REGION_BYTES,
    fdsMax: 1,
    feature: ProtocolFeature.CONFIGURE_MEM_SLOTS,
  },
  [Request.SET_STATUS]: { payload: 8, feature: ProtocolFeature.STATUS },
  [Request.GET_STATUS]: { payload: 0, feature: ProtocolFeature.STATUS, answers: true },
};

/** Undefined for a request that is not served. */
export function requestForm(request: number): Form | undefined {
  return Object.hasOwn(forms, request) ? forms[request] : undefined;
}

/** Throws if a message is none that the back-end, offering `protocolFeatures`, can take. */
export function checkForm(name: string, message: Message, protocolFeatures: bigint): void {
  const { request, payload, fds } = message;
  const form = requestForm(request);
  const what = `vhost-user ${name}: ${requestName(request)}`;
  if (!form || (form.feature !== undefined && !(form.feature & protocolFeatures))) {
    throw new PollmodeError("VHOST_REQUEST", `${what} is not served, nor was it offered`, peerFix);
  }
  if (payload.length < form.payload || payload.length > (form.payloadMax ?? form.payload)) {
    throw new PollmodeError(
      "VHOST_SIZE",
      `${what}: a payload of ${payload.length} bytes, not ${form.payload}`,
      peerFix,
    );
  }
  if (fds.length < (form.fds ?? 0) || fds.length > (form.fdsMax ?? 0)) {
    throw new PollmodeError("VHOST_FDS", `${what}: ${fds.length} fds, not ${form.fdsMax ?? 0}`, peerFix);
  }
}
