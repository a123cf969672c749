var l="pellucid-film";export{l as format};
