# One image for engine, worker and server: the command says which.
FROM node:22-bookworm-slim

# Certificates for wss:// and https://; the rest of what Node packages need they carry themselves.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /moshi
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

COPY tsconfig.json ./
COPY models ./models
COPY plugins ./plugins
COPY agent ./agent

# The page and the graphs of the demo model are part of the image; others are built at the first start.
RUN node --import tsx agent/cli.ts build \
    && mkdir -p /run/moshi && chown -R node:node .cache /run/moshi

USER node
ENV NODE_ENV=production
ENTRYPOINT ["node", "--import", "tsx", "agent/cli.ts"]
CMD ["serve"]
