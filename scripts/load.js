// Requests for the styles of products, at a rate that does not wait for answers. For k6; scripts/cluster and
// scripts/load-test run it.
//
//   TARGET    http://10.77.0.10
//   PRODUCTS  ids run from 1 to this
//   RATE      requests a second (1000), for SECONDS (20)
//   STAGES    instead of both: "500:10,1000:10" for a ramp, rate:seconds
//   HOT       share of requests that go to the styles of the first 20 products (0); with it, the rest are for pages of
//             the catalogue, of which there are more than any cache has seen
import http from 'k6/http';

const HOT_PRODUCTS = 20;
const MOST_ON_A_PAGE = 100;
const { TARGET, PRODUCTS = '20000', RATE = '1000', SECONDS = '20', STAGES = '', HOT = '0' } = __ENV;

// An arrival waits for no answer: as many virtual users as requests may be under way at once.
const users = { preAllocatedVUs: 1000, maxVUs: 4000, exec: 'styles' };
const steady = {
  executor: 'constant-arrival-rate', rate: Number(RATE), timeUnit: '1s', duration: `${SECONDS}s`, ...users,
};
const stages = STAGES.split(',').filter(Boolean).map((stage) => stage.split(':').map(Number));
const ramp = {
  executor: 'ramping-arrival-rate', timeUnit: '1s', startRate: stages.length ? stages[0][0] : 0,
  stages: stages.flatMap(([rate, seconds]) => [
    { target: rate, duration: '0s' }, { target: rate, duration: `${seconds}s` },
  ]),
  ...users,
};

export const options = {
  scenarios: { styles: stages.length ? ramp : steady },
  // A run is good if fewer than one request in a thousand fails, and none had to be left out.
  thresholds: stages.length ? {} : {
    http_req_failed: ['rate<0.001'], http_req_duration: ['p(99)<1000'], dropped_iterations: ['count<1'],
  },
  summaryTrendStats: ['avg', 'p(50)', 'p(99)', 'p(99.9)', 'max'],
  systemTags: ['status', 'error_code'],
  discardResponseBodies: true,
};

// A random integer from 1 to most.
const upTo = (most) => 1 + Math.floor(Math.random() * Number(most));

export function styles() {
  const hot = Math.random() < Number(HOT);
  const path = !hot && Number(HOT) > 0
    ? `/products?page=${upTo(PRODUCTS / MOST_ON_A_PAGE)}&count=${upTo(MOST_ON_A_PAGE)}`
    : `/products/${upTo(hot ? HOT_PRODUCTS : PRODUCTS)}/styles`;
  // As a client that gives up would: longer than the servers take to say that they cannot.
  http.get(`${TARGET}${path}`, { timeout: '10s', tags: { kind: hot ? 'hot' : 'random' } });
}
