import { defineConfig, type Plugin } from 'vite';
import { memoryDashboards } from './dev/dashboards';

// The APIs of a running `obs serve`, for `npm run dev`: OBS_SERVER=http://127.0.0.1:9090
const server = process.env.OBS_SERVER ?? 'http://127.0.0.1:9090';

/** What the server does with its page: `<base>` leads from the page's address to the root. */
function base(): Plugin {
  return {
    name: 'obs-base',
    transformIndexHtml: (html, context) => {
      const depth = (context.originalUrl ?? '/').split('?')[0]?.split('/').length ?? 2;
      return context.server ? html.replace('<base href="./" />', `<base href="./${'../'.repeat(Math.max(0, depth - 2))}" />`) : html;
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [base(), ...(process.env.OBS_DASHBOARDS ? [memoryDashboards(process.env.OBS_DASHBOARDS)] : [])],
  // `light-dark()` stays as it is: what is made of it for old browsers ignores the reader's choice.
  build: { target: 'es2023', cssTarget: ['chrome123', 'firefox120', 'safari17.5'], assetsInlineLimit: 0, modulePreload: false, chunkSizeWarningLimit: 700 },
  server: {
    proxy: { '/api': { target: server, ws: true }, '/loki': { target: server, ws: true }, '/tempo': server, '/-/': server },
  },
});
