// netlink's messages: a header, then what the type of message has. Several come in one datagram.
import { PollmodeError } from "../../errors.ts";
import { systemError } from "../../libc/native.ts";
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_FLAGS,
  NLMSG_SEQ,
  NLMSG_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGHDR_BYTES,
} from "./abi.ts";
import { Attributes, aligned, malformed } from "./attributes.ts";

export interface Message {
  readonly type: number;
  readonly flags: number;
  /** Of the request that it answers. */
  readonly sequence: number;
  /** What follows the header. */
  readonly body: Buffer;
}

export function encodeMessage({ type, flags, sequence, body }: Message): Buffer {
  const header = Buffer.alloc(NLMSGHDR_BYTES);
  header.writeUInt32LE(NLMSGHDR_BYTES + body.length, 0);
  header.writeUInt16LE(type, NLMSG_TYPE);
  header.writeUInt16LE(flags, NLMSG_FLAGS);
  header.writeUInt32LE(sequence, NLMSG_SEQ);
  return Buffer.concat([header, body]);
}

/** The messages of a datagram, as views of it. Throws NETLINK_MALFORMED. */
export function messagesOf(datagram: Buffer, what: string): Message[] {
  const found: Message[] = [];
  for (let at = 0; at < datagram.length; ) {
    const rest = datagram.length - at;
    const length = rest < NLMSGHDR_BYTES ? 0 : datagram.readUInt32LE(at);
    if (length < NLMSGHDR_BYTES || length > rest) {
      throw malformed(what, `a message of ${length} bytes in the ${rest} that are left`);
    }
    found.push({
      type: datagram.readUInt16LE(at + NLMSG_TYPE),
      flags: datagram.readUInt16LE(at + NLMSG_FLAGS),
      sequence: datagram.readUInt32LE(at + NLMSG_SEQ),
      body: datagram.subarray(at + NLMSGHDR_BYTES, at + length),
    });
    at += aligned(length);
  }
  return found;
}

/** A message's fixed part, of at least so many bytes, and the attributes behind it. Throws NETLINK_MALFORMED. */
export function splitBody(body: Buffer, fixedBytes: number, what: string): [fixed: Buffer, Attributes] {
  const [fixed, rest] = fixedAndRest(body, fixedBytes, what);
  return [fixed, new Attributes(rest, what)];
}

/** The same with the attributes' bytes. */
export function fixedAndRest(body: Buffer, fixedBytes: number, what: string): [fixed: Buffer, rest: Buffer] {
  if (body.length < fixedBytes) throw malformed(what, `it has ${body.length} bytes, not ${fixedBytes}`);
  return [body.subarray(0, fixedBytes), body.subarray(Math.min(aligned(fixedBytes), body.length))];
}

/**
 * What an NLMSG_ERROR or NLMSG_DONE says: undefined where all went well, else an error with errno's name, and the
 * kernel's own words where it has some (extended acknowledgement). Throws NETLINK_MALFORMED.
 */
export function failureOf(answer: Message, isDone: boolean, what: string): PollmodeError | undefined {
  const { body, flags } = answer;
  if (body.length < 4) {
    if (isDone) return undefined; // of old kernels
    throw malformed(what, `an acknowledgement of ${body.length} bytes`);
  }
  const errno = -body.readInt32LE(0);
  if (errno === 0) return undefined;
  const error = systemError("rtnetlink", what, errno);
  const text =
    flags & NLM_F_ACK_TLVS ? attributesAt(answer, isDone, what)?.text(NLMSGERR_ATTR_MSG) : undefined;
  if (!text) return error;
  return new PollmodeError(error.code, `${error.message}: ${text}`, error.fix);
}

/** struct nlmsgerr { i32 error; nlmsghdr request; }: the request's header at least, all of it unless it was capped. */
function attributesAt({ body, flags }: Message, isDone: boolean, what: string): Attributes | undefined {
  if (isDone) return new Attributes(body.subarray(4), what);
  if (body.length < 4 + NLMSGHDR_BYTES) throw malformed(what, `an acknowledgement of ${body.length} bytes`);
  const request = flags & NLM_F_CAPPED ? NLMSGHDR_BYTES : body.readUInt32LE(4);
  const start = 4 + aligned(request);
  if (start > body.length) throw malformed(what, `an acknowledgement of a request of ${request} bytes`);
  return new Attributes(body.subarray(start), what);
}
