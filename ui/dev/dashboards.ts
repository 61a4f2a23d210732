// `/api/v1/dashboards` in memory, for developing against a server that lacks it: OBS_DASHBOARDS=folder.

import { readFileSync, readdirSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Plugin } from 'vite';

interface Stored {
  uid?: string;
  title?: string;
  tags?: string[];
}

function read(folder: string): Map<string, Stored> {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return new Map(files.map((name) => {
    const json = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Stored;
    return [json.uid ?? name.replace(/\.json$/, ''), json];
  }));
}

async function body(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

export function memoryDashboards(folder: string): Plugin {
  const stored = read(folder);
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const uid = decodeURIComponent((request.url ?? '').split('?')[0]?.replace(/^\//, '') ?? '');
    const send = (status: number, json: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(json));
    };
    if (!uid) {
      const dashboards = [...stored].map(([id, { title = id, tags = [] }]) => ({ uid: id, title, tags, builtin: true }));
      return send(200, { status: 'success', data: { dashboards } });
    }
    if (request.method === 'PUT') stored.set(uid, JSON.parse(await body(request)) as Stored);
    if (request.method === 'DELETE' && stored.delete(uid)) return send(200, { status: 'success' });
    const found = stored.get(uid);
    return found ? send(200, found) : send(404, { status: 'error', errorType: 'not_found', error: `there is no dashboard ${uid}` });
  };
  const use = (server: { middlewares: { use: (path: string, handler: (request: IncomingMessage, response: ServerResponse) => void) => unknown } }) => {
    server.middlewares.use('/api/v1/dashboards', (request, response) => void answer(request, response));
  };
  return { name: 'obs-memory-dashboards', configureServer: use, configurePreviewServer: use };
}
