import { defineConfig } from 'vite';

// The APIs of a running `obs serve`, for `npm run dev`.
const server = 'http://127.0.0.1:9090';

export default defineConfig({
  base: './',
  build: { target: 'es2023', assetsInlineLimit: 0, modulePreload: false },
  server: {
    proxy: { '/api': server, '/loki': server, '/tempo': server },
  },
});
