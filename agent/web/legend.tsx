/** Which colour is whose voice. */
export function Legend() {
  return (
    <ul className="legend">
      <li className="agent">Moshi</li>
      <li className="user">You</li>
      <li className="both">Both at once</li>
    </ul>
  );
}
