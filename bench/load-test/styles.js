// k6 script for scripts/cluster and scripts/load-test: requests for the styles of products at a fixed rate.
//
//   TARGET    http://10.77.0.10
//   PRODUCTS  the highest product id
//   RATE      requests a second (1000), for SECONDS (20)
//   HOT       share of requests for the styles of the first HOT_PRODUCTS (20) products (0)
//   OTHERS    the other requests: styles (of any product) or pages (more than a cache can hold)
import http from 'k6/http';

const MAX_PAGE = 100;
const {
  TARGET, PRODUCTS = '20000', RATE = '1000', SECONDS = '20', HOT = '0', HOT_PRODUCTS = '20', OTHERS = 'styles',
} = __ENV;

export const options = {
  scenarios: {
    // An arrival waits for no answer: as many virtual users as requests may be under way at once.
    steady: {
      executor: 'constant-arrival-rate', rate: Number(RATE), timeUnit: '1s', duration: `${SECONDS}s`,
      preAllocatedVUs: 1000, maxVUs: 4000,
    },
  },
  // A run is good if fewer than one request in a thousand fails, and none had to be left out.
  thresholds: {
    http_req_failed: ['rate<0.001'], http_req_duration: ['p(99)<1000'], dropped_iterations: ['count<1'],
  },
  summaryTrendStats: ['avg', 'p(50)', 'p(99)', 'p(99.9)', 'max'],
  systemTags: ['status', 'error_code'],
  discardResponseBodies: true,
};

// A random integer from 1 to most.
const upTo = (most) => 1 + Math.floor(Math.random() * Number(most));

export default function request() {
  const hot = Math.random() < Number(HOT);
  const path = !hot && OTHERS === 'pages'
    ? `/products?page=${upTo(PRODUCTS / MAX_PAGE)}&count=${upTo(MAX_PAGE)}`
    : `/products/${upTo(hot ? HOT_PRODUCTS : PRODUCTS)}/styles`;
  // As a client that gives up would: longer than the servers take to say that they cannot.
  http.get(`${TARGET}${path}`, { timeout: '10s', tags: { kind: hot ? 'hot' : 'random' } });
}
