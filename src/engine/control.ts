// What a running engine answers on its control socket.
import { join } from "node:path";
import { mappingsOf } from "../bus/vfio/container.ts";
import type { TapOptions } from "../capture/taps.ts";
import { describeError, PollmodeError } from "../errors.ts";
import type { Port } from "../ethdev/port.ts";
import type { Poller } from "../libc/poller.ts";
import type { IovaMap } from "../memory/iova.ts";
import type { Zone } from "../memory/zone.ts";
import { CONTROL_SOCKET_NAME } from "../telemetry/control-client.ts";
import {
  type ControlAnswer,
  type ControlClient,
  type ControlMethod,
  ControlSocket,
} from "../telemetry/control-socket.ts";
import type { Captures, OpenTaps } from "./capture.ts";

/** The engine, as far as its control socket shows it. */
export interface ControlledEngine {
  readonly ports: readonly Port[];
  readonly captures: Captures;
  readonly dma: Zone;
  readonly iova: IovaMap;
}

/**
 * Lets other programs ask, if there is a runtime directory for them to find the engine by. An engine without a control
 * socket still works, so its failure is a warning.
 */
export function openControlSocket(
  engine: ControlledEngine,
  folder: string | undefined,
  poller: Poller,
  warn: (text: string) => void,
): ControlSocket | undefined {
  if (folder === undefined) return undefined;
  try {
    return new ControlSocket(join(folder, CONTROL_SOCKET_NAME), poller, controlMethods(engine));
  } catch (error) {
    warn(`no control socket, so no pollmode capture: ${describeError(error)}`);
    return undefined;
  }
}

function controlMethods(engine: ControlledEngine): Record<string, ControlMethod> {
  /** Captures of all clients, by number. */
  const captures = new Map<number, { opened: OpenTaps; client: ControlClient; close(): Promise<void> }>();
  let last = 0;

  function startCapture(params: Record<string, unknown>, client: ControlClient): ControlAnswer {
    const port = findPort(engine.ports, params.port);
    const id = ++last;
    const opened = engine.captures.openTaps(port, params as TapOptions, (reason) => {
      client.tell({ event: "capture.end", capture: id, reason });
      void close();
    });
    const close = async () => {
      forget();
      captures.delete(id);
      await opened.close();
    };
    const forget = client.onGone(() => void close());
    captures.set(id, { opened, client, close });
    const { plan, fd } = opened.taps;
    return { result: { capture: id, plan, origin: opened.origin }, fds: [fd] };
  }

  async function stopCapture(params: Record<string, unknown>, client: ControlClient): Promise<ControlAnswer> {
    const capture = captures.get(params.capture as number);
    // one that has ended by itself meanwhile is no fault; another client's is none of his business
    if (capture?.client === client) await capture.close();
    return { result: {} };
  }

  return {
    info: () => {
      const { dma, iova, ports } = engine;
      const mapped = {
        bytes: dma.range.bytes,
        usedBytes: dma.usedBytes,
        mappings: mappingsOf(dma, iova).length,
      };
      return { result: { pid: process.pid, ports: ports.length, captures: captures.size, dma: mapped } };
    },
    ports: () => ({ result: engine.ports.map(describe) }),
    "capture.start": startCapture,
    "capture.stop": stopCapture,
  };
}

function describe(port: Port) {
  const { id, name, info, mac, started } = port;
  const { up, speed } = port.link();
  const queues = { rxQueues: port.rxQueues.length, txQueues: port.txQueues.length };
  return { id, name, driver: info.driver, mac: [...mac], started, up, speed, ...queues };
}

/** By number or by name. */
function findPort(ports: readonly Port[], wanted: unknown): Port {
  const found = ports.find(({ id, name }) => name === wanted || id === wanted || String(id) === wanted);
  if (found) return found;
  const list = ports.map(({ id, name }) => `${id} (${name})`).join(", ");
  const message = `there is no port ${JSON.stringify(wanted) ?? "without a name"}`;
  throw new PollmodeError("PORT_UNKNOWN", message, list ? `ports: ${list}` : "the engine has no port yet");
}
