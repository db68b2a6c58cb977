// The web page and the metrics endpoint of --http: a small HTTP server on the main thread.
//
// It only reads. It listens on the loopback interface unless told otherwise, answers GET and HEAD alone, and only where
// the Host header is an address or a name of this machine: a page from elsewhere that has its own name resolve to
// 127.0.0.1 (DNS rebinding) gets nothing. No header allows other origins, and clients are few and may not be slow.
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { hostname } from "node:os";
import { PollmodeError } from "../errors.ts";
import { HTTP_CLIENTS_MAX, HTTP_TIMEOUT_MS } from "../limits.ts";
import { LiveReadings } from "./live.ts";
import type { SnapshotSource } from "./snapshot.ts";

/** Where serveTelemetry() listens. */
export interface TelemetryOptions {
  /** Address or name to listen at. Default 127.0.0.1; `0.0.0.0` and `::` are open to the network. */
  host?: string;
  /** 0 takes a free one. Default 9464, as OpenTelemetry's exporter for Prometheus. */
  port?: number;
  /** Names besides localhost and this machine's that clients may use in the URL. */
  names?: readonly string[];
  /** Where warnings go; process.emitWarning by default. */
  warn?: (text: string) => void;
}

/** A server that answers until it is closed, by close() or `await using`. */
export interface TelemetryServer extends AsyncDisposable {
  /** `http://127.0.0.1:9464/`. */
  readonly url: string;
  /** Ends it and its connections. */
  close(): Promise<void>;
}

/** The page's files, beside this one in dist (scripts/build-page.ts). */
const files: Readonly<Record<string, { file: string; type: string }>> = {
  "/": { file: "index.html", type: "text/html; charset=utf-8" },
  "/page.js": { file: "page.js", type: "text/javascript; charset=utf-8" },
  "/page.css": { file: "page.css", type: "text/css; charset=utf-8" },
  "/icon.svg": { file: "icon.svg", type: "image/svg+xml" },
};

const headers = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
};

/**
 * Serves `/` (live page), `/metrics` (Prometheus' text format) and `/api/snapshot` (JSON). Rejects with errno's name as
 * code where the address cannot be had.
 */
export async function serveTelemetry(
  engine: SnapshotSource,
  options: TelemetryOptions = {},
): Promise<TelemetryServer> {
  const { host = "127.0.0.1", port = 9464, names = [] } = options;
  const warn = options.warn ?? ((text: string) => process.emitWarning(text, { code: "POLLMODE" }));
  const pages = readPages();
  const { Metrics } = await import("./metrics.ts"); // with prom-client: programs without --http do without
  const metrics = new Metrics(engine);
  const live = new LiveReadings(engine);
  const own = new Set(["localhost", hostname(), host, ...names].map((name) => name.toLowerCase()));
  const settings = {
    headersTimeout: HTTP_TIMEOUT_MS,
    requestTimeout: HTTP_TIMEOUT_MS,
    keepAliveTimeout: HTTP_TIMEOUT_MS,
    connectionsCheckingInterval: 1000,
    maxHeaderSize: 8192,
  };
  const server = createServer(settings, (request, response) => {
    answer(request, response).catch((error: Error) => {
      if (response.headersSent) response.destroy();
      else send(request, response, 500, "text/plain; charset=utf-8", `${error.message}\n`);
    });
  });
  server.maxConnections = HTTP_CLIENTS_MAX;
  server.timeout = HTTP_TIMEOUT_MS; // also one that does not read its answer

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const text = (status: number, body: string) =>
      send(request, response, status, "text/plain; charset=utf-8", `${body}\n`);
    if (!isOwnHost(request.headers.host, own)) {
      return text(421, "This is not a name of this machine: use its address, or localhost.");
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      return text(405, "GET and HEAD only.");
    }
    const path = request.url?.split("?")[0] ?? "";
    const page = pages.get(path);
    if (page) return send(request, response, 200, page.type, page.body);
    if (path === "/metrics") return send(request, response, 200, metrics.contentType, await metrics.text());
    if (path === "/api/snapshot") {
      return send(request, response, 200, "application/json; charset=utf-8", JSON.stringify(live.read()));
    }
    text(404, "There is /, /metrics and /api/snapshot.");
  };
  const close = async () => {
    live.close();
    metrics.close();
    if (!server.listening) return;
    const closed = new Promise((done) => server.close(done));
    server.closeAllConnections();
    await closed;
  };
  try {
    await listen(server, host, port);
  } catch (error) {
    await close();
    throw error;
  }
  const address = server.address() as AddressInfo;
  const at = address.family === "IPv6" ? `[${address.address}]` : address.address;
  if (!isLoopback(address.address)) {
    warn(`--http ${at}:${address.port} is open to the network: anybody who reaches it sees the statistics`);
  }
  return { url: `http://${at}:${address.port}/`, close, [Symbol.asyncDispose]: close };
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
): void {
  const length = Buffer.byteLength(body);
  response.writeHead(status, { ...headers, "Content-Type": type, "Content-Length": length });
  response.end(request.method === "HEAD" ? undefined : body);
}

function readPages(): Map<string, { type: string; body: Buffer }> {
  try {
    return new Map(
      Object.entries(files).map(([path, { file, type }]) => {
        return [path, { type, body: readFileSync(new URL(`./page/${file}`, import.meta.url)) }];
      }),
    );
  } catch (cause) {
    const message = `--http: the live page was not built: ${(cause as Error).message}`;
    throw new PollmodeError("HTTP_PAGE", message, "run `npm run build`, or install pollmode again", {
      cause,
    });
  }
}

/** An address of any kind, or a name of this machine. Only names can be made to mean something else. */
export function isOwnHost(header: string | undefined, own: ReadonlySet<string>): boolean {
  const host = /^(\[[0-9a-f:.%]+\]|[^:[\]]+)(:\d{1,5})?$/i.exec(header ?? "")?.[1];
  if (host === undefined) return false;
  return isIP(host.replace(/^\[|\]$/g, "")) !== 0 || own.has(host.toLowerCase());
}

function isLoopback(address: string): boolean {
  return address === "::1" || /^(::ffff:)?127\./.test(address);
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    server.listen({ host, port }, () => resolve());
  });
}

function listenError(cause: NodeJS.ErrnoException, host: string, port: number): PollmodeError {
  const at = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const reasons: Record<string, [why: string, fix: string]> = {
    EADDRINUSE: [
      "another program listens there",
      `--http ${at.replace(/\d+$/, "0")} takes a free one; \`ss -ltnp 'sport = :${port}'\` names the program`,
    ],
    EACCES: ["ports below 1024 are root's", "choose a port from 1024 up, or run as root"],
    EADDRNOTAVAIL: [
      "this machine has no such address",
      "`ip address` lists those it has; 127.0.0.1 is always there",
    ],
    ENOTFOUND: ["there is no such name", "give an address: --http 127.0.0.1:9464"],
    EAI_AGAIN: ["no server answers for this name", "give an address: --http 127.0.0.1:9464"],
  };
  const code = cause.code ?? "EIO";
  const [why, fix] = reasons[code] ?? [cause.message, "--http 127.0.0.1:9464, for instance"];
  return new PollmodeError(code, `--http ${at}: ${why}`, fix, { cause });
}
